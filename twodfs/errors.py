"""The exceptions of ``twodfs``: one shallow tree, each message a sentence that says what to do.

``FormatError`` grows its path while it bubbles up, so a message ends like
"... in 'rows[3].allotments[0].digest'".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class TwodfsError(Exception):
    """Whatever this package raises on purpose."""


class FormatError(TwodfsError):
    """A document breaks its format.

    Attributes:
        problem: what is wrong, without the place.
        path: where, as ``rows[3].allotments[0].digest``; empty for the document itself.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        self.problem = problem
        self.path = path
        super().__init__(problem, path)

    def __str__(self) -> str:
        return f"{self.problem} in '{self.path}'" if self.path else self.problem

    def inside(self, parent: str) -> FormatError:
        """Return the same error, seen from the document that holds ``parent``."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return FormatError(self.problem, f"{parent}{joint}{self.path}")


@contextmanager
def within(parent: str) -> Iterator[None]:
    """Put ``parent`` in front of the path of every ``FormatError`` raised in the block."""
    try:
        yield
    except FormatError as error:
        raise error.inside(parent) from None


class DigestError(TwodfsError):
    """A digest is malformed, or content does not hash to the digest it was asked by."""


class InvalidReferenceError(TwodfsError):
    """An image reference breaks the grammar."""


class PartitionError(TwodfsError):
    """The selection of a partition tag cannot be honoured; the client's to mend."""


class TooManyLayersError(PartitionError):
    """The partition would be an image that container runtimes cannot unpack."""


class ValidationError(TwodfsError):
    """The documents of an image contradict each other."""
