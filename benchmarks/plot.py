"""Lines over two logarithmic axes, as an SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7")
_WIDTH, _HEIGHT = 420, 260
_LEFT, _TOP, _GAP, _UNDER = 64, 44, 90, 130


@dataclass(frozen=True, slots=True)
class Panel:
    """What is drawn: a name for each line, and its points."""

    title: str
    across: str
    up: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]


def draw(panels: Sequence[Panel]) -> str:
    """Return the panels side by side; all values are above zero."""
    width = _LEFT + len(panels) * (_WIDTH + _GAP) - _GAP // 2
    xmlns = "http://www.w3.org/2000/svg"
    view = f"0 0 {width} {_TOP + _HEIGHT + _UNDER}"
    parts = [f'<svg xmlns="{xmlns}" viewBox="{view}" font-family="sans-serif" font-size="12">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for at, panel in enumerate(panels):
        parts.append(f'<g transform="translate({_LEFT + at * (_WIDTH + _GAP)} {_TOP})">')
        parts += _panel(panel)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> Iterator[str]:
    left, right = _decades([x for _, points in panel.lines for x, _ in points])
    low, high = _decades([y for _, points in panel.lines for _, y in points])
    yield f'<text x="{_WIDTH / 2}" y="-16" text-anchor="middle" font-weight="bold">{panel.title}</text>'
    for power in range(low, high + 1):
        y = _HEIGHT * (high - power) / (high - low)
        yield f'<path d="M0 {y:.1f}H{_WIDTH}" stroke="#ddd"/>'
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{10**power:g} {panel.up}</text>'
    for power in range(left, right + 1):
        x = _WIDTH * (power - left) / (right - left)
        yield f'<path d="M{x:.1f} 0V{_HEIGHT}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT + 18}" text-anchor="middle">{10**power:,}</text>'
    yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 38}" text-anchor="middle">{panel.across}</text>'
    for at, ((name, points), colour) in enumerate(zip(panel.lines, _COLOURS, strict=False)):
        placed = [
            (
                _WIDTH * (log10(x) - left) / (right - left),
                _HEIGHT * (high - log10(y)) / (high - low),
            )
            for x, y in points
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed)
        y = _HEIGHT + 58 + 18 * at
        yield f'<rect x="0" y="{y - 10}" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="18" y="{y}">{name}</text>'


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = floor(log10(min(values))), ceil(log10(max(values)))
    return low, max(high, low + 1)
