"""The user's credentials for a registry, found where Docker keeps them."""

from __future__ import annotations

from twodfs.credentials.credentials import Credentials
from twodfs.credentials.docker_config import DockerConfig, HelperLookup, read_config
from twodfs.credentials.docker_helper import parse_helper_answer, run_helper
from twodfs.errors import AuthError, FormatError


def find_credentials(registry: str) -> Credentials | None:
    """Return the user's credentials for ``registry``, None when there are none. Blocks on file and helper.

    Raises:
        AuthError: the configuration is malformed, or the helper fails; the message says which.
    """
    content = read_config()
    found = DockerConfig.of(content).lookup(registry) if content else None
    return _ask(found) if isinstance(found, HelperLookup) else found


def _ask(lookup: HelperLookup) -> Credentials | None:
    answer = run_helper(lookup.program, "get", lookup.server.encode(), may_lack=True)
    try:
        return None if answer is None else parse_helper_answer(answer)
    except FormatError as error:
        raise AuthError(f"{lookup.program} printed no credentials: {error}") from None
