"""The error messages that the page on troubleshooting explains are those of the package."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
PYTHONS_OWN = {"WorkerException: ZeroDivisionError", "SIGBUS", "AttributeError"}
FRAGMENTS = {
    fragment.strip(" ,.:;")
    for heading in re.findall(r"^### (.*)$", PAGE, re.MULTILINE)
    for message in re.findall(r"`([^`]*)`", heading)
    for fragment in message.split("...")
} - {""}


def texts() -> Iterator[str]:
    """Yield the strings of the package; what an f-string inserts is left out."""
    for path in [*ROOT.glob("sharedmem/**/*.py"), *ROOT.glob("kernels/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value for part in node.values if isinstance(part, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


ALL_TEXTS = "\n".join(texts())


@pytest.mark.parametrize("fragment", sorted(FRAGMENTS - PYTHONS_OWN))
def test_messages_are_those_of_the_package(fragment):
    words = [re.escape(word) for word in re.sub(r"SIG\w+", "", fragment).split()]
    assert re.search(r"\s+".join(words), ALL_TEXTS)
