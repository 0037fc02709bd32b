"""Bar charts as SVG, readable in light and dark, that say the same each time they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LABEL, NUMBER = 760, 270, 60
BAR, GAP, BETWEEN, TOP = 16, 3, 14, 44
COLOURS = ("#7a8ca3", "#d9822b", "#2f7ed8", "#3c9d5d")

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222; }
.title { font-weight: 600; font-size: 14px; }
.line { stroke: #c33; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) { text { fill: #ddd; } }
"""


def bars(
    title: str,
    groups: Mapping[str, Sequence[float | None]],
    series: Sequence[str],
    *,
    unit: str = "",
    line: float | None = None,
) -> str:
    """A chart of horizontal bars.

    :param groups: by label, the numbers of each series; ``None`` for one that there is none of.
    :param series: their names, for the legend.
    :param unit: stands behind each number.
    :param line: where a line is drawn across, such as what plaintext has.
    """
    most = max(number for numbers in groups.values() for number in numbers if number is not None)
    scale = (WIDTH - LABEL - NUMBER) / max(most, line or 0)
    parts, at = _head(title, series), TOP
    begins = at
    for label, numbers in groups.items():
        there = [(place, number) for place, number in enumerate(numbers) if number is not None]
        middle = at + len(there) * (BAR + GAP) / 2 + 4
        parts.append(
            f'<text x="{LABEL - 8}" y="{middle:.0f}" text-anchor="end">{escape(label)}</text>'
        )
        for place, number in there:
            parts.append(_bar(at, number * scale, COLOURS[place % len(COLOURS)], number, unit))
            at += BAR + GAP
        at += BETWEEN
    if line is not None:
        x = LABEL + line * scale
        parts.append(f'<line class="line" x1="{x:.1f}" x2="{x:.1f}" y1="{begins}" y2="{at}"/>')
    return _svg(parts, at)


def _head(title: str, series: Sequence[str]) -> list[str]:
    parts = [f'<text class="title" x="8" y="16">{escape(title)}</text>']
    x = LABEL
    for place, name in enumerate(series):
        parts.append(f'<rect x="{x}" y="25" width="10" height="10" fill="{COLOURS[place]}"/>')
        parts.append(f'<text x="{x + 15}" y="35">{escape(name)}</text>')
        x += 40 + 7 * len(name)
    return parts


def _bar(y: int, length: float, colour: str, number: float, unit: str) -> str:
    shown = f"{number:.0f}" if number >= 100 else f"{number:.3g}"
    return (
        f'<rect x="{LABEL}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2" '
        f'fill="{colour}"/>'
        f'<text x="{LABEL + length + 6:.1f}" y="{y + BAR - 3}">{shown}{escape(unit)}</text>'
    )


def _svg(parts: Sequence[str], height: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<style>{STYLE}</style>\n{body}\n</svg>\n"
    )
