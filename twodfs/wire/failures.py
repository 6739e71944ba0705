"""Why an exchange over a connection failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_ABOUT_OURS: Final = ("CERTIFICATE", "UNKNOWN_CA")
"""Names in TLS alerts that reject the client's certificate."""


class WireError(Exception):
    """An exchange failed.

    Attributes:
        problem: the event, to be read after "GET http://...: ".
        temporary: whether it may work another time.
    """

    def __init__(self, problem: str, *, temporary: bool = False) -> None:
        self.problem = problem
        self.temporary = temporary
        super().__init__(problem)


class BrokenError(WireError):
    """The connection ended: a kept one may have done so before the request reached the server."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the connection broke: {reason}", temporary=True)


class UntrustedError(WireError):
    """The other side speaks TLS, with a certificate that is not trusted."""


class AnsweredEarlyError(WireError):
    """The server has answered while the request was under way: more of it is not wanted."""


@contextmanager
def described_failures() -> Iterator[None]:
    """Turn the operating system's errors on a connection in the block into a ``WireError``."""
    try:
        yield
    except TimeoutError as error:
        raise WireError("the registry does not answer in time", temporary=True) from error
    except OSError as error:
        # TLS 1.3 reports the fault of a client's certificate only after the handshake.
        reason = getattr(error, "reason", None) or ""
        if "ALERT_" in reason and any(one in reason for one in _ABOUT_OURS):
            raise WireError("the registry wants a client certificate, and was shown none that will do") from error
        raise BrokenError(error.strerror or type(error).__name__) from error
