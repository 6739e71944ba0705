"""Certificates: ours, exchanged while connections are open, and the ones that we accept from the registry."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from proxy.config import TlsConfig, UpstreamConfig
from proxy.logs import get_logger
from twodfs.files import MOST_PEM, read_file

_POLL_SECONDS: Final = 2.0
"""Bytes of a file of certificates: a system's own has a quarter of a megabyte."""
_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_CERTIFICATES: Final = {
    "off": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}

_Stamp = tuple[tuple[int, int, int] | None, ...]


class CertificateError(Exception):
    """A certificate, key or bundle cannot be used; the message names the setting and the file."""


class ListenerTls:
    """The TLS context of the public listener, whose certificate follows the files.

    A handshake takes the certificate, and the CAs of clients, that are current when it begins; connections
    that are open go on with theirs.
    """

    def __init__(self, config: TlsConfig) -> None:
        """Read the files.

        Raises:
            CertificateError: they cannot be used.
        """
        self._config = config
        self._stamp = self._look()
        self._current = _listener_context(config)
        self._asked = asyncio.Event()
        self.context = _listener_context(config)
        # OpenSSL asks at every handshake, whether or not the client names a server.
        self.context.sni_callback = self._answer

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Follow changes of the files for the time of the context."""
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(self._watch())
            try:
                yield
            finally:
                watch.cancel()

    def reload(self) -> None:
        """Read the files again now, changed or not."""
        self._stamp = ()
        self._asked.set()

    def _answer(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    async def _watch(self) -> None:
        failed: _Stamp | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), _POLL_SECONDS)
            self._asked.clear()
            stamp = await asyncio.to_thread(self._look)
            if stamp == self._stamp:
                continue
            try:
                self._current = await asyncio.to_thread(_listener_context, self._config)
            except CertificateError as error:
                if stamp != failed:  # half of a pair may have been written; it is tried again, and told once
                    get_logger().error("certificate not exchanged, the old one stays", reason=str(error))
                failed = stamp
            else:
                get_logger().info("certificate exchanged", certificate=str(self._config.certificate))
                self._stamp, failed = stamp, None

    def _look(self) -> _Stamp:
        return tuple(_stamp(file) for file in (self._config.certificate, self._config.key, self._config.client_ca))


def _stamp(file: Path | None) -> tuple[int, int, int] | None:
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size) if found else None


def _listener_context(config: TlsConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[config.minimum_version]
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    _load_pair(context, config.certificate, config.key, "tls.certificate", "tls.key")
    if config.client_ca is not None:
        _load_bundle(context, config.client_ca, "tls.client_ca")
        context.verify_mode = _CLIENT_CERTIFICATES[config.client_certificates]
        # A resumed session is not verified again, so a CA that was taken out would go on being trusted.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def registry_context(config: UpstreamConfig, *, is_registry: bool = True) -> ssl.SSLContext:
    """Return the context for connections to the registry, or to its token server and storage elsewhere.

    Args:
        config: names the CAs and the client certificate.
        is_registry: whether to show the client certificate, and to trust no CAs but the named ones. A
            private registry may keep its blobs, or its users, with a host of a public CA.

    Raises:
        CertificateError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if config.ca_file is None or not is_registry:
        context.load_default_certs()
    if config.ca_file is not None:
        _load_bundle(context, config.ca_file, "upstream.ca_file")
    if is_registry and config.client_certificate is not None:
        pair = config.client_certificate, config.client_key
        _load_pair(context, *pair, "upstream.client_certificate", "upstream.client_key")
    return context


def _load_pair(
    context: ssl.SSLContext, certificate: Path | None, key: Path | None, setting: str, key_setting: str
) -> None:
    assert certificate is not None  # noqa: S101 - TLS is not asked for without one
    for name, file in ((setting, certificate), (key_setting, key)):
        if file is not None:
            _check_readable(name, file)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        reason = {
            "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
            "NO_START_LINE": "a file holds no PEM certificate or key",
        }.get(error.reason or "NO_START_LINE", error.reason)
        pair = f"{certificate} and {key}" if key else str(certificate)
        raise CertificateError(f"{setting} cannot be used ({pair}): {reason}") from None
    except (OSError, ValueError) as error:
        raise CertificateError(f"{setting} cannot be used: {error}") from None


def _no_password() -> str:
    """Refuse, where OpenSSL would ask the terminal."""
    raise ValueError("the key is encrypted; give one without a passphrase")


def _load_bundle(context: ssl.SSLContext, file: Path, setting: str) -> None:
    _check_readable(setting, file)
    try:
        context.load_verify_locations(file)
    except (ssl.SSLError, OSError, ValueError):
        raise CertificateError(f"{setting} cannot be used: {file} holds no PEM certificate") from None


def _check_readable(setting: str, file: Path) -> None:
    try:
        read_file(file, limit=MOST_PEM)  # OpenSSL reads a device for ever
    except OSError as error:
        raise CertificateError(f"{setting} cannot be read: {file}: {error.strerror}") from None
