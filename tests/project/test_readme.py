"""Tests of the programs in README.md and of the links in all pages."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)
SITE = "https://sharedmem.readthedocs.io/en/stable/"
# What the package index and others show outside of a checkout.
SHOWN_ELSEWHERE = ["README.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "pyproject.toml"]
PAGES = [
    *(ROOT / name for name in (*SHOWN_ELSEWHERE[:3], "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def test_each_program_of_the_readme_has_its_output():
    assert len(PROGRAMS) == README.count("```python") == 6


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for link in re.findall(r"\]\((?!https?:)([^)]*)\)", page.read_text()):
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        if target.parent.name == "gallery":  # made from examples/
            target = ROOT / "examples" / target.with_suffix(".py").name
            target = target.with_name("GALLERY_HEADER.rst") if target.stem == "index" else target
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
            assert heading in slugs, link


@pytest.mark.parametrize("name", SHOWN_ELSEWHERE)
def test_pages_shown_elsewhere_link_to_pages_of_the_site(name):
    text = (ROOT / name).read_text()
    assert not re.findall(r"\]\((?!https?:)([^)]*)\)", text)
    for link in re.findall(rf"{re.escape(SITE)}([\w./-]*)", text):
        source = ROOT / "docs" / (link.removesuffix(".html") or "index")
        made = link == "gallery/index.html"  # from examples/
        assert made or source.exists() or any(map(Path.exists, sources(source))), link


def sources(page: Path) -> list[Path]:
    return [page.with_name(page.name + suffix) for suffix in (".md", ".rst")]


@pytest.mark.parametrize(
    ("program", "output"), PROGRAMS, ids=["array", "map", "reduction", "kernel", "one-pass", "pool"]
)
def test_programs_print_the_output_in_the_readme(program, output, tmp_path):
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == (output, "")
