"""Docker's credential helpers: programs that keep logins (docker/docker-credential-helpers)."""

from __future__ import annotations

from typing import Final

from twodfs.credentials.credentials import Credentials
from twodfs.credentials.docker_config import config_path
from twodfs.credentials.programs import ConversationError, converse
from twodfs.errors import AuthError
from twodfs.oci.documents import expect, parse_object

HELPER_TIMEOUT: Final = 60.0
"""Seconds; a helper may ask the user to unlock a keychain."""

_IDENTITY_USER: Final = "<token>"
"""The user name that marks the secret as an identity token."""


def parse_helper_answer(body: bytes) -> Credentials:
    """Return the credentials that a helper printed.

    Raises:
        FormatError: malformed; never with a secret.
    """
    raw = parse_object(body)
    username = expect(raw.get("Username"), str, "Username")
    secret = expect(raw.get("Secret"), str, "Secret")
    if username == _IDENTITY_USER:
        return Credentials(identity_token=secret)
    return Credentials(username, secret)


def run_helper(program: str, action: str, question: bytes, *, may_lack: bool = False) -> bytes | None:
    """Return a credential helper's answer; None when it knows nothing and ``may_lack`` allows that.

    Raises:
        AuthError: it is not installed, or fails; never with a secret.
    """
    try:
        done = converse([program, action], question, seconds=HELPER_TIMEOUT)
    except FileNotFoundError:
        raise AuthError(f"{config_path()} names {program}, which is not on the PATH") from None
    except ConversationError as error:
        raise AuthError(f"{program} was ended at '{action}': {error}") from None
    except OSError as error:
        raise AuthError(f"{program} failed: {type(error).__name__}") from None
    if done.returncode == 0:
        return done.stdout
    # docker-credential-helpers, "credentials not found in native keychain": not an error.
    if may_lack and b"credentials not found" in done.stdout + done.stderr:
        return None
    raise AuthError(f"{program} failed with status {done.returncode} at '{action}'")
