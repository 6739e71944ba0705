"""The result of one check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIPPED = "skipped"
    """It was not looked at; the sentence says why."""
    WARNING = "warning"
    """Pulls work; something costs speed, safety or comfort."""
    PROBLEM = "problem"
    """Some pulls will fail."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about one thing, and the change to make, if any; ``registry``: of several, the one it is about."""

    check: str
    level: Level
    sentence: str
    advice: str = ""
    registry: str = ""

    def of(self, registry: str) -> Finding:
        """Return it as one about ``registry``."""
        return replace(self, registry=registry)

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        named = {"registry": self.registry} if self.registry else {}
        return {
            "check": self.check,
            **named,
            "level": str(self.level),
            "sentence": self.sentence,
            "advice": self.advice,
        }


def ok(check: str, sentence: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, sentence)


def skipped(check: str, sentence: str) -> Finding:
    """Not checked."""
    return Finding(check, Level.SKIPPED, sentence)


def warning(check: str, sentence: str, advice: str) -> Finding:
    """It works, and could be better."""
    return Finding(check, Level.WARNING, sentence, advice)


def problem(check: str, sentence: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check, Level.PROBLEM, sentence, advice)


def verdict(findings: Sequence[Finding]) -> Level:
    """Return the worst level there is; skipped checks do not count."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.PROBLEM, Level.WARNING) if level in levels), Level.OK)
