"""The outcome as an SVG: processor time for each GiB, a panel for each kind of upstream."""

from __future__ import annotations

from collections.abc import Mapping

_COLOURS = {"proxy": "#d55e00", "proxy, buffered": "#e69f00", "nginx, tuned": "#0072b2", "nginx": "#56b4e9"}
_OTHER = "#999999"
_XMLNS = "http://www.w3.org/2000/svg"
_HEIGHT, _BAR, _GAP, _TOP = 200, 22, 30, 70


def draw(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the SVG: panel -> group (streams) -> contender -> processor seconds for a GiB."""
    highest = max(value for groups in panels.values() for bars in groups.values() for value in bars.values())
    parts: list[str] = []
    names: dict[str, None] = {}
    x = 50
    for title, groups in panels.items():
        parts.append(f'<text x="{x}" y="{_TOP - 14}" font-weight="bold">{title}</text>')
        for group, bars in groups.items():
            parts.append(f'<text x="{x}" y="{_TOP + _HEIGHT + 18}">{group}</text>')
            for name, value in bars.items():
                names[name] = None
                height = value / highest * _HEIGHT
                y = _TOP + _HEIGHT - height
                colour = _COLOURS.get(name, _OTHER)
                parts.append(
                    f'<rect x="{x}" y="{y:.1f}" width="{_BAR - 3}" height="{height:.1f}" fill="{colour}"/>'
                )
                parts.append(f'<text x="{x}" y="{y - 3:.1f}" font-size="9">{value:.2f}</text>')
                x += _BAR
            x += _GAP
        x += _GAP
    legend = [
        f'<rect x="{50 + at * 130}" y="10" width="12" height="12" fill="{_COLOURS.get(name, _OTHER)}"/>'
        f'<text x="{66 + at * 130}" y="20">{name}</text>'
        for at, name in enumerate(names)
    ]
    width, height = max(x, 50 + 130 * len(names)), _TOP + _HEIGHT + 50
    caption = f'<text x="50" y="{height - 8}">processor seconds for each GiB relayed, less is better</text>'
    head = f'<svg xmlns="{_XMLNS}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join(
        [
            head,
            f'<rect width="{width}" height="{height}" fill="white"/>',
            *legend,
            *parts,
            caption,
            "</svg>",
            "",
        ]
    )
