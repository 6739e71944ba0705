"""The outcome as an SVG: for each model, seconds over the share of splits that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor, log10

_COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#e69f00")
_WIDTH, _HEIGHT = 360, 260
_LEFT, _TOP, _GAP = 56, 56, 40

Line = tuple[str, Sequence[tuple[float, float]]]
"""A name, and points: percent of splits changed, seconds."""


def draw(panels: Sequence[tuple[str, Sequence[Line]]]) -> str:
    """Return the SVG with a panel for each title and its lines, seconds on a logarithmic axis."""
    seconds = [y for _, lines in panels for _, points in lines for _, y in points]
    lowest, highest = floor(log10(min(seconds))), ceil(log10(max(seconds)))
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    height = _TOP + _HEIGHT + 48
    xmlns = "http://www.w3.org/2000/svg"
    parts = [
        f'<svg xmlns="{xmlns}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_legend([name for name, _ in panels[0][1]]),
    ]
    for at, (title, lines) in enumerate(panels):
        parts.append(f'<g transform="translate({_LEFT + at * (_WIDTH + _GAP)} {_TOP})">')
        parts += _axes(title, lowest, highest)
        for (_, points), colour in zip(lines, _COLOURS, strict=False):
            placed = [(x / 100 * _WIDTH, _y(y, lowest, highest)) for x, y in points]
            parts += _line(placed, colour)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _y(seconds: float, lowest: int, highest: int) -> float:
    return _HEIGHT * (highest - log10(seconds)) / (highest - lowest)


def _legend(names: Iterable[str]) -> Iterator[str]:
    for at, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        x = _LEFT + at * 150
        yield f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/>'
        yield f'<text x="{x + 18}" y="20">{name}</text>'


def _axes(title: str, lowest: int, highest: int) -> Iterator[str]:
    yield f'<text x="{_WIDTH / 2}" y="-12" text-anchor="middle" font-weight="bold">{title}</text>'
    for power in range(lowest, highest + 1):
        y = _y(10**power, lowest, highest)
        yield f'<path d="M0 {y:.1f}H{_WIDTH}" stroke="#ddd"/>'
        yield f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{10**power:g} s</text>'
    for share in range(0, 101, 20):
        yield f'<text x="{share / 100 * _WIDTH}" y="{_HEIGHT + 18}" text-anchor="middle">{share} %</text>'
    yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT + 38}" text-anchor="middle">splits changed</text>'


def _line(points: Sequence[tuple[float, float]], colour: str) -> Iterator[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    for x, y in points:
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
