"""HTML for notebooks: tables and pictures that are readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

# Text and lines have the color of the text around them.


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return a table of texts, the first of each row to the left and the others to the right."""
    lines = ['<table cellpadding="5" style="border-collapse:collapse;color:inherit">']
    if head:
        lines.append(_row(head, "th"))
    lines += (_row(row, "td") for row in rows)
    return "".join([*lines, "</table>"])


def _row(texts: Sequence[str], kind: str) -> str:
    first, *others = (f">{escape(content)}</{kind}>" for content in texts)
    cells = "".join(f"<{kind}{other}" for other in others)
    left = f'<{kind} style="text-align:left"{first}'
    return f'<tr style="background:none;text-align:right">{left}{cells}</tr>'


def picture(width: float, height: float, parts: Iterable[str], title: str) -> str:
    """Return a picture of parts in SVG, with a title for those who cannot see it."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" '
        f'height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}" role="img" '
        f'font-family="sans-serif" font-size="11" fill="currentColor" style="max-width:100%">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(x: float, y: float, content: str, anchor: str = "start", turn: float = 0) -> str:
    """Return a text at a place, turned by degrees about it."""
    turned = f' transform="rotate({number(turn)} {number(x)} {number(y)})"' if turn else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" text-anchor="{anchor}"{turned}>'
        f"{escape(content)}</text>"
    )


def number(value: float) -> str:
    """Return a coordinate as a short text."""
    return f"{value:.1f}".removesuffix(".0")
