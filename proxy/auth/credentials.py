"""Where the credentials come from that the proxy itself shows the registry (``upstream.credentials``).

Every source is asked again when the registry refuses its credentials: secrets are rotated under us. No secret is
logged or shown; errors name files and settings.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from proxy.config import CredentialsConfig
from proxy.logs import get_logger
from proxy.watched import FileError, WatchedFile
from twodfs.credentials.credentials import Credentials
from twodfs.credentials.docker_config import MAX_DOCKER_CONFIG_BYTES, DockerConfig, HelperLookup, config_path
from twodfs.credentials.docker_helper import parse_helper_answer, run_helper
from twodfs.errors import AuthError, FormatError

T = TypeVar("T")

_HELPER_SECONDS: Final = 300.0
"""Seconds for which a credential helper's answer is valid."""
_EARLY: Final = 3600.0
"""Seconds before its end that a token of ECR (12 hours) is exchanged; half its life, where that is less."""
_AGAIN: Final = 60.0
"""Seconds until a failed exchange is tried again, while the previous token is still valid."""


class CredentialsError(Exception):
    """The proxy's own credentials cannot be obtained; the message names the setting or file."""


Source = Callable[[bool], Awaitable[Credentials | None]]
"""Returns the current credentials; with True, fresh ones, if the source can get them."""


def source(config: CredentialsConfig, registry: str) -> Source:
    """Return the configured source of credentials for ``registry`` (host, or host:port).

    Raises:
        CredentialsError: a file cannot be used, or a package is missing.
    """
    try:
        match config.kind:
            case "static":
                return _static(config)
            case "file":
                return _file(config)
            case "docker-config":
                return _docker_config(config, registry)
            case "ecr":
                return Ecr(config)
            case "none":
                raise ValueError("without credentials there is no source of them")
    except FileError as error:
        raise CredentialsError(f"upstream.credentials.file: {error}") from None


def _static(config: CredentialsConfig) -> Source:
    found = Credentials(
        config.username,
        config.password.get_secret_value(),
        registry_token=config.token.get_secret_value(),
    )

    async def give(_fresh: bool) -> Credentials:  # noqa: FBT001 - the protocol of a source
        return found

    return give


def _file(config: CredentialsConfig) -> Source:
    assert config.file is not None  # noqa: S101 - the configuration was checked
    watched = WatchedFile(config.file, lambda content: _parse_secret(content, config.username))

    async def give(_fresh: bool) -> Credentials:  # noqa: FBT001
        return watched.get()

    return give


def _parse_secret(content: bytes, username: str) -> Credentials:
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    user, colon, password = (username, ":", text) if username else text.partition(":")
    if not (user and colon and password) or "\n" in text:
        raise ValueError("expected one line, user:password (or the password alone, beside username)")
    return Credentials(user, password)


def _docker_config(config: CredentialsConfig, registry: str) -> Source:
    path = config.file or config_path()
    watched = WatchedFile(path, _parse_docker_config, limit=MAX_DOCKER_CONFIG_BYTES)
    helped: tuple[float, Credentials | None] | None = None
    thread = _own_thread()

    async def give(fresh: bool) -> Credentials | None:  # noqa: FBT001
        nonlocal helped
        found = watched.get().lookup(registry)
        if not isinstance(found, HelperLookup):
            return found
        if fresh or helped is None or time.monotonic() - helped[0] > _HELPER_SECONDS:
            helped = time.monotonic(), await _done_in(thread, partial(_ask_helper, found))
        return helped[1]

    return give


def _parse_docker_config(content: bytes) -> DockerConfig:
    try:
        return DockerConfig.parse(content)
    except FormatError as error:
        raise ValueError(str(error)) from None


def _own_thread() -> ThreadPoolExecutor:
    """Return a thread for questions that may hang: in asyncio's, they would hold up those of other registries."""
    return ThreadPoolExecutor(1, "credentials")


async def _done_in(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(thread, work)


def _ask_helper(lookup: HelperLookup) -> Credentials | None:
    try:
        answer = run_helper(lookup.program, "get", lookup.server.encode(), may_lack=True)
        return None if answer is None else parse_helper_answer(answer)
    except (AuthError, FormatError) as error:
        raise CredentialsError(str(error)) from None


class Ecr:
    """Tokens of Amazon ECR, through its API, with the AWS credentials of the environment.

    A token is valid for 12 hours and is exchanged early; while an exchange fails, the previous one stays in use.
    """

    def __init__(self, config: CredentialsConfig) -> None:
        """Make the client of the API.

        Raises:
            CredentialsError: botocore is missing, or the region is.
        """
        try:
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra
            from botocore.session import Session  # noqa: PLC0415
        except ImportError:
            raise CredentialsError(
                "upstream.credentials.kind = ecr needs botocore, which is not installed: pip install botocore"
            ) from None
        self._errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
        try:
            self._client: Any = Session().create_client(
                "ecr", region_name=config.ecr_region or None, endpoint_url=config.ecr_endpoint
            )
        except (BotoCoreError, ValueError) as error:
            raise CredentialsError(f"upstream.credentials for ECR: {type(error).__name__}: {error}") from None
        self._held: Credentials | None = None
        self._until = 0.0
        self._exchange_at = 0.0
        self._exchanging = asyncio.Lock()
        self._thread = _own_thread()

    async def __call__(self, fresh: bool) -> Credentials:  # noqa: FBT001
        """Return the token of now, exchanged when its end is near or ``fresh`` is asked for."""
        before = self._held
        async with self._exchanging:
            is_newer = self._held is not before
            if self._held is None or time.time() >= self._exchange_at or (fresh and not is_newer):
                await self._exchange()
            assert self._held is not None  # noqa: S101 - an exchange that gave nothing has raised
            return self._held

    async def _exchange(self) -> None:
        try:
            self._held, self._until = await _done_in(self._thread, self._ask)
        except self._errors as error:
            # Its message names the operation and AWS' own error code, never a secret.
            problem = f"the ECR API gave no token: {type(error).__name__}: {error}"
        except (KeyError, IndexError, TypeError, ValueError, binascii.Error):
            problem = "the ECR API gave no token: its answer is malformed"
        else:
            left = self._until - time.time()
            self._exchange_at = self._until - min(_EARLY, left / 2)
            get_logger().info("token of ECR exchanged", seconds=round(left))
            return
        if self._held is None or time.time() >= self._until:
            self._held = None
            raise CredentialsError(problem)
        self._exchange_at = time.time() + _AGAIN
        get_logger().warning("the token of before serves on", problem=problem)

    def _ask(self) -> tuple[Credentials, float]:
        answer = self._client.get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(answer["authorizationToken"], validate=True).decode().partition(":")
        if not (user and password):
            raise ValueError("no user and password")
        expires: datetime = answer["expiresAt"]
        return Credentials(user, password), expires.timestamp()
