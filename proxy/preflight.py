"""Objects that a start needs, made from files and settings before anything listens.

A start opens each once, through the same functions as ``--check-config``: both accept the same files.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from proxy.auth.access_control import AccessControl, Authenticator, PassThrough
from proxy.auth.credentials import CredentialsError, source
from proxy.auth.passwords import Passwords
from proxy.auth.tokens import TokenVerifier
from proxy.config import Address, Config, SigningConfig
from proxy.edge.disk.directory import EdgeDirectory, EdgeError
from proxy.insides.versions import ADVICE
from proxy.repository import DEFAULT_UPSTREAM
from proxy.signing.signer import FileSigner, KeyFileError, load_public_key
from proxy.tracing.otlp import TracingError, require
from proxy.watched import FileError
from proxy.wire import rehearsal
from proxy.wire.tls import CertificateError, ListenerTls, registry_context
from twodfs.signing.ecdsa import PublicKey

_PORTS: Final = {"http": 80, "https": 443}


class StartError(Exception):
    """The proxy cannot start; the message says what to change."""


def start_error(error: BaseException) -> StartError | None:
    """Return the StartError in ``error``, however deep task groups have wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(start_error, error.exceptions)), None)
    return error if isinstance(error, StartError) else None


def check(config: Config) -> None:
    """Open all that a start opens, but no listener, and close it again.

    Raises:
        StartError: a start would fail, or the registry is the proxy itself; a line for each reason.
    """
    reasons = []
    for opens in (
        refuse_circle,
        _open_authenticators,
        listener_tls,
        _open_upstream,
        _open_redis,
        _open_tracing,
        _look_at_edge,
        lambda config: source_keys(config.signing),
        lambda config: signer(config.signing),
        lambda _: asyncio.run(rehearse_protections()),
    ):
        try:
            opens(config)
        except StartError as error:
            reasons.append(str(error))
    if reasons:
        raise StartError("\n".join(reasons))


async def rehearse_protections() -> None:
    """Try out the proxy's protections with the installed aiohttp and Python.

    Raises:
        StartError: a protection does not work, so that the proxy would let through requests that it must refuse.
    """
    if (reason := await rehearsal.obstacle()) is not None:
        raise StartError(f"{reason}; {ADVICE}")


def refuse_circle(config: Config) -> None:
    """Look whether the registry is the proxy itself.

    Raises:
        StartError: it is, so that each request would come back for ever.
    """
    own = urlsplit(config.public_url or "")
    for name, one in registries(config).items():
        for url in one.upstream.urls:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            its = _words_of(name, f"upstream.url {url}")
            if Address(parts.hostname or "", port).reaches(config.listen):
                raise StartError(f"{its} is where the proxy itself listens; name the registry's address")
            if (own.hostname, own.port or _PORTS.get(own.scheme)) == (parts.hostname, port):
                raise StartError(f"{its} is the proxy's own public_url; name the registry's address")


def registries(config: Config) -> Mapping[str, Config]:
    """Return the configuration for each registry, the default one first, by the name of ``Repository.upstream``."""
    return {DEFAULT_UPSTREAM: config, **config.others()}


@contextlib.contextmanager
def registry_named(name: str) -> Iterator[None]:
    """Let errors in the context, which are about the registry with the name ``name``, say so.

    Raises:
        StartError: files that its settings name cannot be used.
    """
    try:
        yield
    except (CertificateError, CredentialsError, FileError) as error:
        raise StartError(_words_of(name, str(error))) from None


def _words_of(name: str, sentence: str) -> str:
    return sentence if name == DEFAULT_UPSTREAM else f"[[upstream]] {name}: {sentence}"


def _open_upstream(config: Config) -> None:
    _each(config, _open_one)


def _open_one(_: str, config: Config) -> None:
    registry_context(config.upstream)
    if config.upstream.credentials.kind != "none":
        source(config.upstream.credentials, urlsplit(config.upstream.urls[0]).netloc)


def _open_authenticators(config: Config) -> None:
    _each(config, lambda name, one: authenticator(one, name))


def _each(config: Config, opens: Callable[[str, Config], object]) -> None:
    """Let ``opens`` open something of each registry.

    Raises:
        StartError: some cannot be used; a line for each.
    """
    reasons = []
    for name, one in registries(config).items():
        try:
            with registry_named(name):
                opens(name, one)
        except StartError as error:
            reasons.append(str(error))
    if reasons:
        raise StartError("\n".join(reasons))


def _open_redis(config: Config) -> None:
    if not config.cache.redis_url.get_secret_value():
        return
    from proxy.store.clients import RedisFileError, check_tls  # noqa: PLC0415 - a third of the start of those without

    try:
        check_tls(config.cache)
    except RedisFileError as error:
        raise StartError(str(error)) from None


def _open_tracing(config: Config) -> None:
    try:
        require(config.tracing)
    except TracingError as error:
        raise StartError(str(error)) from None


def _look_at_edge(config: Config) -> None:
    """Look whether the edge directory can be made or written to, without making or writing anything.

    A check may run as another user than the start, to whom what it made would not belong.
    """
    if config.edge.directory is None:
        return
    try:
        EdgeDirectory.look_at(config.edge.directory)
    except EdgeError as error:
        raise StartError(str(error)) from None


def listener_tls(config: Config) -> ListenerTls | None:
    """Return the certificates for TLS of the public listener; None where it speaks plain HTTP.

    Raises:
        StartError: a file cannot be used.
    """
    try:
        return ListenerTls(config.tls) if config.tls.certificate else None
    except CertificateError as error:
        raise StartError(str(error)) from None


def authenticator(config: Config, upstream: str = DEFAULT_UPSTREAM) -> Authenticator:
    """Return the access control that lets clients in to the registry with the name ``upstream``.

    Raises:
        StartError: the file of keys or passwords cannot be used.
    """
    auth = config.auth
    with registry_named(upstream):
        verifier = TokenVerifier(auth.token, upstream) if auth.token.keys else None
        if not config.controls_access:
            return PassThrough(verifier)
        passwords = Passwords(auth.clients.htpasswd) if auth.clients.htpasswd else None
        return AccessControl(auth, verifier, passwords, upstream, config.upstream.name)


def source_keys(config: SigningConfig) -> list[PublicKey] | None:
    """Return the keys one of which must have signed an image that is cut; None where none has to.

    Raises:
        StartError: a file holds no such key.
    """
    try:
        return [load_public_key(file) for file in config.source_keys] if config.require_source_signature else None
    except KeyFileError as error:
        raise StartError(str(error)) from None


def signer(config: SigningConfig) -> FileSigner | None:
    """Return the signer of partitions; None where they are not signed.

    Raises:
        StartError: the key cannot be used.
    """
    try:
        return FileSigner.load(config.key) if config.key is not None else None
    except KeyFileError as error:
        raise StartError(str(error)) from None
