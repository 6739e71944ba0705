"""Bars in groups, as an SVG; what is of another unit stands in a panel of its own."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle

_COLOURS = ("#999999", "#d55e00", "#0072b2", "#e69f00", "#56b4e9", "#009e73", "#cc79a7")
_ENOUGH_DIGITS = 10
"""From here on a bar's value is written without decimals."""
_XMLNS = "http://www.w3.org/2000/svg"
_HEIGHT, _BAR, _GAP, _TOP = 200, 36, 30, 70
_NAME, _LETTER = 170, 8


def draw(panels: Mapping[str, Mapping[str, Mapping[str, float]]], caption: str = "") -> str:
    """Return the SVG: panel -> group -> contender -> value, each panel with a scale of its own."""
    parts: list[str] = []
    contenders = [name for groups in panels.values() for bars in groups.values() for name in bars]
    colours = dict(zip(dict.fromkeys(contenders), cycle(_COLOURS), strict=False))
    x = 50
    for title, groups in panels.items():
        highest = max(value for bars in groups.values() for value in bars.values()) or 1
        left = x
        parts.append(f'<text x="{x}" y="{_TOP - 14}" font-weight="bold">{title}</text>')
        for group, bars in groups.items():
            parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 18}">{group}</text>')
            for name, value in bars.items():
                height = value / highest * _HEIGHT
                y = _TOP + _HEIGHT - height
                size = f'width="{_BAR - 3}" height="{height:.1f}"'
                parts.append(f'<rect x="{x}" y="{y:.1f}" {size} fill="{colours[name]}"/>')
                parts.append(f'<text x="{x}" y="{y - 3:.1f}" font-size="9">{_written(value)}</text>')
                x += _BAR
            x += _GAP
        x = max(x + _GAP, left + _LETTER * len(title))
    legend = [
        f'<rect x="{50 + at * _NAME}" y="10" width="12" height="12" fill="{colour}"/>'
        f'<text x="{66 + at * _NAME}" y="20">{name}</text>'
        for at, (name, colour) in enumerate(colours.items())
    ]
    width, height = max(x, 50 + _NAME * len(colours)), _TOP + _HEIGHT + 50
    under = f'<text x="50" y="{height - 8}">{caption}</text>'
    head = f'<svg xmlns="{_XMLNS}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join(
        [
            head,
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *legend,
            *parts,
            under,
            "</svg>",
            "",
        ]
    )


def _written(value: float) -> str:
    return f"{value:,.0f}" if value >= _ENOUGH_DIGITS else f"{value:.2f}"
