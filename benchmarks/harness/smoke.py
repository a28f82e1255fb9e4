"""Call each contender once, with a small size and in one process, and compare the results."""

from __future__ import annotations

import sys

from harness.families import selected
from harness.serve import ends
from harness.timing import OURS, Measured


def main(patterns: list[str]) -> None:
    """Run the rows that match; of rows that differ only in size, the first."""
    seen = set()
    for name, (_, row) in selected(patterns).items():
        if row.contenders[OURS] in seen:
            continue
        seen.add(row.contenders[OURS])
        found = {}
        for which, set_up in row.contenders.items():
            result = set_up(row.quick_size)()
            found[which] = ends(result.result if isinstance(result, Measured) else result)
            if found[which] and found[which] != found[OURS]:
                sys.exit(f"{name}: the contenders differ: {found}")
        print(name, *found, sep=", ", flush=True)
    if "joblib" in sys.modules:  # its workers stay alive, and keep files in /dev/shm
        from joblib.externals import loky

        loky.get_reusable_executor().shutdown(wait=True)


if __name__ == "__main__":
    main(sys.argv[1:])
