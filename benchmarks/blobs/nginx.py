"""nginx, as the registry that blobs come from, and as the proxy to compare with."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program

BLOB: Final = "/v2/bench/blob/blobs/sha256:" + "0" * 64

_MAIN: Final = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 75;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http}
}}
"""
_ORIGIN: Final = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl backlog=4096;
        ssl_certificate {directory}/cert.pem;
        ssl_certificate_key {directory}/key.pem;
        ssl_protocols TLSv1.3;
        default_type application/octet-stream;
        location = /v2/ {{ return 200 "{{}}"; }}
        location /v2/bench/blob/blobs/ {{ alias {directory}/blobs/; }}
    }}
"""
_PROXY: Final = """
    upstream registry {{ server {upstream}; keepalive 256; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass {scheme}://registry;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            {tuning}
        }}
    }}
"""
TUNED: Final = "proxy_buffering on; proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_max_temp_file_size 0;"
STOCK: Final = ""


class Nginx(Server):
    """One nginx with one worker, like the proxy's one process."""

    def __init__(self, launch: Launch, port: int, tls_port: int = 0) -> None:
        super().__init__(launch)
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self.tls_url = f"https://127.0.0.1:{tls_port}"

    @classmethod
    def origin(cls, directory: Path, blob_size: int) -> Self:
        """Start a registry of one blob, served with sendfile in the clear and over TLS."""
        port, tls_port = free_port(), free_port()
        blobs = directory / "blobs"
        blobs.mkdir()
        _write_blob(blobs / BLOB.rpartition("/")[2], blob_size)
        _write_certificate(directory)
        http = _ORIGIN.format(port=port, tls_port=tls_port, directory=directory)
        return cls._start(directory, http, port, tls_port)

    @classmethod
    def proxy(cls, directory: Path, upstream: str, tuning: str) -> Self:
        """Start a reverse proxy in front of ``upstream``, with or without ``TUNED``."""
        scheme, _, address = upstream.partition("://")
        return cls.configured(directory, _PROXY, upstream=address, scheme=scheme, tuning=tuning)

    @classmethod
    def configured(cls, directory: Path, server: str, **values: object) -> Self:
        """Start an nginx with ``server`` in its block ``http``, in which ``{port}`` and ``values`` are filled in."""
        port = free_port()
        return cls._start(directory, server.format(port=port, directory=directory, **values), port)

    @classmethod
    def _start(cls, directory: Path, http: str, *ports: int) -> Self:
        file = directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(_MAIN.format(directory=directory, user=user, http=http))
        launch = Launch(
            argv=(program("nginx"), "-e", str(directory / "error.log"), "-c", str(file)),
            log=directory / "nginx.log",
            ready=listens(ports[0]),
            environment=environment(),
            directory=directory,
        )
        server = cls(launch, *ports)
        server.launch()
        return server


def _write_blob(file: Path, size: int) -> None:
    piece = os.urandom(2**20)
    with file.open("wb") as out:
        for _ in range(size // len(piece)):
            out.write(piece)


def _write_certificate(directory: Path) -> None:
    """Write a certificate for localhost, its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "key.pem").write_bytes(private)
