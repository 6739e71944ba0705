"""The exceptions of ``twodfs``: one shallow tree, each message a sentence that names the remedy.

``FormatError`` grows its path while it bubbles up, so a message ends like
"... in 'rows[3].allotments[0].digest'".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class TwodfsError(Exception):
    """Every error that this package raises on purpose."""


class FormatError(TwodfsError):
    """A document breaks its format.

    Attributes:
        problem: the mistake, without the place.
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
        return type(self)(self.problem, f"{parent}{joint}{self.path}")


class UnsupportedTypeError(FormatError):
    """The document is of a media type that has no field, such as Docker's schema 1."""


class TooLargeError(FormatError):
    """An image whose documents are more than are read for one cut."""


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


class NothingSelectedError(PartitionError):
    """No allotment lies in the selection; the field's extent is in the message."""


class TooManyLayersError(PartitionError):
    """The partition would be an image that container runtimes cannot unpack."""


class ValidationError(TwodfsError):
    """The documents of an image contradict each other."""


class KeyFormatError(TwodfsError):
    """A file holds no key that signatures can be made or checked with."""


class SignatureError(TwodfsError):
    """A document carries no signature by any of the given keys."""


class AuthError(TwodfsError):
    """A registry's challenge cannot be met: no credentials, or they were refused."""


class RegistryError(TwodfsError):
    """A registry refused a request, or gave no answer.

    Attributes:
        method: of the request.
        url: of the request, without user and query, so that it can be shown.
        status: of the answer; None when none came.
        code: of the answer's first OCI error, as ``MANIFEST_UNKNOWN``; empty when it has none.
        temporary: whether the same request may succeed later.
        retry_after: seconds the registry asked to wait; None when it did not say.
    """

    def __init__(
        self,
        problem: str,
        *,
        method: str,
        url: str,
        status: int | None = None,
        code: str = "",
        temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.method = method
        self.url = url
        self.status = status
        self.code = code
        self.temporary = temporary
        self.retry_after = retry_after
        answer = " ".join(str(part) for part in (status, code) if part)
        super().__init__(f"{method} {url}: {answer + ': ' if answer else ''}{problem}")


class UsageError(TwodfsError):
    """A command line cannot be honoured; its author's to mend."""


class BuildFileError(TwodfsError):
    """A build file cannot be honoured; its author's to mend."""


class BuildError(TwodfsError):
    """An image cannot be built, stored or pushed as asked."""


class DamagedError(BuildError):
    """A blob of the store is gone, or no longer as it was written; a build makes it again."""
