"""Fuzz messages, pickles, and expressions, guided by coverage; see `make fuzz`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sharedmem"]):
    import targets


def frames(data: bytes) -> None:
    given = atheris.FuzzedDataProvider(data)
    n_segments, has_file = given.ConsumeIntInRange(0, 3), given.ConsumeBool()
    fields = [given.ConsumeIntInRange(0, 8), given.ConsumeIntInRange(0, 1)]
    fields += [some_int(given) for _ in range(5)]
    message = targets.header(*fields)
    message += targets.sizes(*(some_int(given) for _ in range(given.ConsumeIntInRange(0, 4))))
    message += given.ConsumeBytes(200)
    if given.ConsumeProbability() < 0.1:
        message = message[: given.ConsumeIntInRange(1, len(message))]
    content = targets.sizes(*(some_int(given) for _ in range(given.ConsumeIntInRange(0, 3))))
    targets.receive(message, content + given.ConsumeBytes(300), n_segments, has_file)


def some_int(given: atheris.FuzzedDataProvider) -> int:
    """Return a small integer, or any integer of 64 bits."""
    if given.ConsumeProbability() < 0.7:
        return given.PickValueInList([-1, 0, 1, 2, 8, 100, 5000, 1 << 16])
    return given.ConsumeIntInRange(-(1 << 63), (1 << 63) - 1)


def pickles(data: bytes) -> None:
    given = atheris.FuzzedDataProvider(data)
    if given.ConsumeBool():
        n_changes = given.ConsumeIntInRange(1, 5)
        targets.load_bytes(
            [(given.ConsumeIntInRange(0, 1000), given.ConsumeIntInRange(0, 255))] * n_changes
        )
        return
    n_axes = given.ConsumeIntInRange(0, 4)
    layout = {
        "offset": some_int(given),
        "shape": tuple(some_int(given) for _ in range(n_axes)),
        "strides": tuple(some_int(given) for _ in range(given.ConsumeIntInRange(0, 4))),
        "dtype": given.PickValueInList(list(targets.TYPES)),
    }
    changes = {
        "pid": some_int(given),
        "fd": some_int(given),
        "started": some_int(given),
        "nbytes": some_int(given),
        "identity": (some_int(given), some_int(given)),
        "boot": given.ConsumeUnicode(5),
    }
    targets.load(
        {name: value for name, value in changes.items() if given.ConsumeProbability() < 0.2},
        {name: value for name, value in layout.items() if given.ConsumeProbability() < 0.6},
    )


def expressions(data: bytes) -> None:
    given = atheris.FuzzedDataProvider(data)
    words = ["a", "b", "n", "+", "*", "**", "<<", "(", ")", "sin(", "where(", ",", "1", "9" * 30]
    words += ["__class__", ".", "<", "&", "~", "-", "1e400", "True", "'", "lambda:", "[", "0x", "j"]
    n_words = given.ConsumeIntInRange(0, 40)
    text = "".join(
        given.PickValueInList(words) if given.ConsumeBool() else given.ConsumeUnicode(3)
        for _ in range(n_words)
    )
    targets.evaluate(text)


def main() -> None:
    target = {"frames": frames, "pickles": pickles, "expressions": expressions}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
