"""Configurations that together give every setting a value that is not its default."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bcrypt

from tests.lab.certificates import Authority
from tests.lab.recorded_release.content import Release, keys

Json = dict[str, Any]
# Where the files are that settings name; each run has a directory of its own.
_FILES = "/FILES"

EVERYTHING = """
listen = "127.0.0.1:5999"
admin = "127.0.0.1:9999"
public_url = "https://registry.example.org"
trusted_proxies = ["10.0.0.0/8", "fd00::/8"]
shutdown_grace = 31
workers = 2

[upstream]
url = ["https://one.example.org:5001", "https://two.example.org"]
balance = "round-robin"
connect_timeout = 6
read_timeout = 301
metadata_timeout = 31
max_connections = 4609
keepalive_timeout = 16
ca_file = "/FILES/lab-ca.pem"
client_certificate = "/FILES/server.pem"
client_key = "/FILES/server-key.pem"
server_name = "registry.internal"
host = "registry.example.org:5000"

[upstream.credentials]
kind = "static"
username = "servant"
password = "of the proxy"

[tls]
certificate = "/FILES/server.pem"
key = "/FILES/server-key.pem"
client_certificates = "optional"
client_ca = "/FILES/lab-ca.pem"
minimum_version = "1.3"

[blobs]
relay = "buffered"
redirect = "follow"
allowed_networks = ["10.20.0.0/16"]
allowed_hosts = ["minio.lan", "*.storage.lan"]

[limits]
connections = 8193
header_timeout = 16
requests = 4097
requests_per_client = 2049
cuts = 33
queued_cuts = 513
manifest_body = "5MiB"

[cache]
redis_url = "rediss://user:word@redis.example.org:6380/1"
redis_ca_file = "/FILES/lab-ca.pem"
redis_certificate = "/FILES/server.pem"
redis_key = "/FILES/server-key.pem"
redis_timeout = 0.5
redis_failover = 16
redis_max_connections = 65
redis_max_value = "17MiB"
key_prefix = "another"
secret = "a secret of sixteen characters and more"
memory = "257MiB"
tag_ttl = 1
ttl = 86399
recipe_days = 91

[partition]
max_layers = 126
max_field = "257MiB"

[client]
idle_timeout = 301
keepalive_timeout = 76

[signing]
key = "/FILES/signing.pem"
registry = "registry.example.org:443"
require_source_signature = true
source_keys = ["/FILES/signing.pub", "/FILES/builders.pub"]
source_ttl = 299

[auth]
realm_hosts = ["tokens.example.org", "tokens.example.org:8443"]
ttl = 11

[auth.token]
keys = "/FILES/server.pem"
issuer = "an issuer"
audience = "a service"
leeway = 29
realm = "https://auth.example.org/token"

[auth.clients]
htpasswd = "/FILES/htpasswd"
allow_anonymous = true

[[auth.clients.rules]]
users = ["ann", "ci-*"]
repositories = ["team/**"]
actions = ["pull", "push", "delete"]

[[auth.clients.rules]]
users = ["anonymous"]
repositories = ["open/*"]

[log]
format = "console"
level = "warning"
blob_sample = 0.5

[metrics]
repositories = ["library/*", "team/model"]

[tracing]
endpoint = "http://collector.example.org:4318/v1/traces"
sample_ratio = 0.25
service_name = "another-proxy"
"""

SOME = {
    "token": """
        upstream.url = "http://127.0.0.1:5001"
        upstream.credentials = { kind = "static", token = "a token" }
        auth.clients.allow_anonymous = true
    """,
    "file": """
        upstream.url = "http://127.0.0.1:5001"
        upstream.credentials = { kind = "file", username = "servant", file = "/FILES/secret" }
        auth.clients.htpasswd = "/FILES/htpasswd"
    """,
    "docker-config": """
        upstream.url = "http://127.0.0.1:5001"
        upstream.credentials = { kind = "docker-config", file = "/FILES/config.json" }
        auth.clients.htpasswd = "/FILES/htpasswd"
    """,
    "ecr": """
        upstream.url = "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com"
        auth.clients.allow_anonymous = true
        [upstream.credentials]
        kind = "ecr"
        ecr_region = "eu-west-1"
        ecr_endpoint = "http://127.0.0.1:5555"
    """,
    "short": """
        upstream = "http://127.0.0.1:5001"
        admin = "none"
        auth.realm = "proxy"
        cache.redis_url = "redis+sentinel://one:26379,two:26379/service/0"
    """,
    "cluster": """
        upstream = "http://127.0.0.1:5001"
        cache.redis_url = "redis+cluster://one:6379,two:6379"
        signing.source_keys = []
    """,
    "nothing": 'upstream = "http://127.0.0.1:5001"',
}
CASES = {"everything": EVERYTHING, **SOME}


def prepare(directory: Path) -> None:
    """Write the files that the settings name."""
    Authority(directory).issue("server", "localhost")
    for name in ("signing", "builders"):
        keys(directory, name)
    (directory / "htpasswd").write_text(f"ada:{bcrypt.hashpw(b'lovelace', bcrypt.gensalt(4)).decode()}\n")
    (directory / "secret").write_text("of the proxy\n")
    (directory / "config.json").write_text('{"auths": {"127.0.0.1:5001": {"auth": "YWRhOmxvdmVsYWNl"}}}')


def shown(directory: Path, release: Release, toml: str | None, variables: Mapping[str, str]) -> Json:
    """Return what `--check-config` prints of a file or of variables."""
    argv = [sys.executable, "-m", "proxy", "--check-config"]
    if toml is not None:
        file = directory / "settings.toml"
        file.write_text(toml.replace(_FILES, str(directory)))
        argv += ["--config", str(file)]
    given = {name: value.replace(_FILES, str(directory)) for name, value in variables.items()}
    done = subprocess.run(
        argv,
        env=release.run_in({**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **given}),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: Json = json.loads(done.stdout.replace(str(directory), _FILES))
    return printed


def as_variables(toml: str) -> dict[str, str]:
    """Write a configuration as variables of the environment."""
    return {
        f"TWODFS_PROXY_{path.replace('.', '_').upper()}": _as_text(value) for path, value in leaves(tomllib.loads(toml))
    }


def leaves(table: Json, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a configuration by its dotted path."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case [dict(), *_]:
            return json.dumps(value)
        case list():
            return ",".join(value)
        case _:
            return str(value)
