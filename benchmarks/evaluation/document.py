"""The page ``evaluation.md`` and its plots, from a summary alone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.evaluation.parts import PARTS
from benchmarks.evaluation.summary import Summary


def write_page(summary: Summary, directory: Path) -> None:
    """Write ``evaluation.md`` into ``directory``, and the plots into ``evaluation/`` beside it."""
    (directory / "evaluation.md").write_text(page(summary), encoding="utf-8")


def page(summary: Summary) -> str:
    """Return the page: a section for each part that was measured."""
    parts = ["# Evaluation"]
    for part in PARTS:
        if any(row.part == part.name for row in summary.rows):
            parts += [f"## {part.title}", *part.section(summary)]
    return "\n\n".join(parts) + "\n"
