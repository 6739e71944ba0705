"""Folded stacks as a flame graph in SVG, and as the text of what costs most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

_WIDTH: Final = 1400
_ROW: Final = 16
_TOP: Final = 34
_NARROWEST: Final = 1.0
_LETTER: Final = 6.2
_SERVICE: Final = Path(__file__).parents[2] / "proxy"
_OURS: Final = ("proxy/", "twodfs/", *(f"{file.parent.name}/" for file in _SERVICE.glob("*/__init__.py")))
_BUSIEST: Final = 40
# What runs the loop is in every stack and tells nothing.
_LOOP: Final = "asyncio/base_events.BaseEventLoop._run_once"


@dataclass(slots=True)
class Node:
    """A function under its callers, and how often it was seen there."""

    samples: int = 0
    inner: dict[str, Node] = field(default_factory=dict)


def parse(folded: str) -> dict[tuple[str, ...], int]:
    """Return how often each stack was seen, outermost function first, without what runs the loop."""
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        names = stack.split(";")
        if _LOOP in names:  # else it was not serving yet
            stacks[tuple(names[names.index(_LOOP) :])] += int(count)
    return stacks


def draw(title: str, stacks: Mapping[tuple[str, ...], int]) -> str:
    """Return the flame graph; our own functions are red, others grey."""
    root = _tree(stacks)
    depth = max(map(len, stacks))
    height = _TOP + _ROW * (depth + 1)
    xmlns = "http://www.w3.org/2000/svg"
    return "\n".join(
        (
            f'<svg xmlns="{xmlns}" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="11">',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="6" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
            *_boxes(root, 0.0, 0, root.samples),
            "</svg>",
            "",
        )
    )


def _tree(stacks: Mapping[tuple[str, ...], int]) -> Node:
    root = Node()
    for stack, count in sorted(stacks.items()):
        node = root
        node.samples += count
        for name in stack:
            node = node.inner.setdefault(name, Node())
            node.samples += count
    return root


def _boxes(node: Node, left: float, depth: int, total: int) -> Iterator[str]:
    for name, inner in node.inner.items():
        width = _WIDTH * inner.samples / total
        if width >= _NARROWEST:
            y = _TOP + _ROW * depth
            colour = "#e8836b" if name.startswith(_OURS) else "#cccccc"
            share = 100 * inner.samples / total
            yield f"<g><title>{escape(name)} {share:.1f} %</title>"
            size = f'width="{width:.1f}" height="{_ROW - 1}"'
            yield f'<rect x="{left:.1f}" y="{y}" {size} fill="{colour}"/>'
            letters = int((width - 4) / _LETTER)
            if letters > 2:
                yield f'<text x="{left + 2:.1f}" y="{y + 11}">{escape(name[:letters])}</text>'
            yield "</g>"
            yield from _boxes(inner, left, depth + 1, total)
        left += width


def text(title: str, stacks: Mapping[tuple[str, ...], int], microseconds: float) -> str:
    """Return the functions that cost most, with what they call and by themselves.

    Args:
        title: of the whole.
        stacks: as ``parse`` returns them.
        microseconds: of processor time, of one request; what the shares are of.
    """
    alone: Counter[str] = Counter()
    together: Counter[str] = Counter()
    for stack, count in stacks.items():
        alone[stack[-1]] += count
        together.update(dict.fromkeys(stack, count))
    total = sum(stacks.values())
    lines = [f"{title}: {microseconds:.0f} us of processor time for each request, {total} samples", ""]
    for heading, counts in (("by itself", alone), ("with what it calls", together)):
        lines.append(f"{'us':>7} {'share':>7}  {heading}")
        lines += [
            f"{microseconds * count / total:7.1f} {100 * count / total:6.1f}%  {name}"
            for name, count in counts.most_common(_BUSIEST)
        ]
        lines.append("")
    return "\n".join(lines)
