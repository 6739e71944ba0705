"""What is deployed without Kubernetes: compose file, systemd unit, nginx as TLS front."""

import datetime as dt
import hashlib
import json
import re
import ssl
import sys
import tomllib
from http.client import HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.config import Config, load
from proxy.doctor.finding import Level
from proxy.doctor.host import memory
from tests.lab import command
from tests.lab.engines import Skopeo
from tests.lab.images import push_field_image
from tests.lab.peers import require
from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry

DEPLOY = Path(__file__).parents[2] / "deploy"
INDEX = "application/vnd.oci.image.index.v1+json"
# In tenths of systemd's own scale of 10; a service that is not hardened has 96.
MOST_EXPOSURE = 15
_SERVICE_KEYS = {
    *("image", "build", "environment", "ports", "depends_on", "read_only", "cap_drop", "security_opt"),
    *("stop_grace_period", "restart", "volumes", "command", "user", "profiles"),
}


UNITS = ("twodfs-proxy.service", "twodfs-proxy-edge.service")
_VARIABLE = re.compile(r"\$\{(\w+):[?-]([^}]*)\}")


def composed(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return content


def unit(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text()


@pytest.mark.parametrize("file", ["compose.yaml", "compose.edge.yaml"])
def test_what_the_compose_file_names_is_there(file: str) -> None:
    compose = composed(file)
    assert compose.keys() == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert service.keys() <= _SERVICE_KEYS, name
        assert set(service.get("depends_on", [])) <= compose["services"].keys(), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], name
    (build,) = (service["build"] for service in compose["services"].values() if "build" in service)
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()


def test_the_program_takes_the_compose_files_environment() -> None:
    proxy = composed("compose.yaml")["services"]["proxy"]
    config = load({}, proxy["environment"], DEPLOY / "image" / "config.toml")
    assert config.upstream.url == "http://registry:5000"
    assert_the_container_fits(proxy, config)


def test_the_program_takes_the_edge_nodes_environment() -> None:
    node = composed("compose.edge.yaml")["services"]["edge"]
    given = {
        name: _VARIABLE.sub(lambda match: match[2].removeprefix("as "), value)
        for name, value in node["environment"].items()
    }
    config = load({}, given, DEPLOY / "image" / "config.toml")
    assert (config.upstream.url, config.edge.max_size) == ("https://registry.example.org", 20 * 10**9)
    (volume,) = node["volumes"]
    assert str(config.edge.directory) == volume.partition(":")[2]
    assert f"mkdir -p {config.edge.directory}\n" in (DEPLOY / "Dockerfile").read_text(), "else the volume is root's"
    assert_the_container_fits(node, config)


def assert_the_container_fits(service: dict[str, Any], config: Config) -> None:
    (port,) = service["ports"]
    assert port.endswith(f":{config.listen.port}")
    assert float(service["stop_grace_period"].removesuffix("s")) > config.shutdown_grace


@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_the_unit_and_finds_it_hardened(name: str, tmp_path: Path) -> None:
    require("systemd-analyze")
    file = tmp_path / name
    # The check wants the program to be there.
    own = Path(sys.executable).with_name("twodfs-proxy")
    file.write_text(unit(name).replace("/opt/twodfs/bin/twodfs-proxy", str(own)))
    analyze = program("systemd-analyze")
    assert command.run((analyze, "verify", str(file)), environment()) == ""
    limit = ("--offline=true", f"--threshold={MOST_EXPOSURE}", "--no-pager")
    assert "exposure level" in command.run((analyze, "security", *limit, str(file)), environment())


@pytest.mark.parametrize("name", UNITS)
def test_systemd_leaves_the_proxy_the_calls_it_makes(name: str) -> None:
    """Splicing, the process that parses a large field, several workers, and a store, by systemd's own groups."""
    require("systemd-analyze")
    text = unit(name)
    allowed: set[str] = set()
    for filtered in re.findall(r"^SystemCallFilter=(\S+)$", text, re.MULTILINE):
        group = system_calls(filtered.removeprefix("~"))
        allowed = allowed - group if filtered.startswith("~") else allowed | group
    assert "mount" not in allowed
    assert allowed >= {
        *("splice", "pipe2", "fcntl", "sendfile", "memfd_create", "mmap", "ftruncate"),
        *("execve", "fork", "vfork", "clone", "clone3", "wait4", "kill"),
        *("setpriority", "prlimit64", "setrlimit"),
        *("flock", "fsync", "fdatasync", "rename", "link", "unlink", "fallocate", "pread64", "pwrite64", "fstatfs"),
    }
    # Python's nice() is setpriority() in glibc, and a process may always become less urgent.
    assert not re.search(r"^(MemoryDenyWriteExecute|NoExecPaths|LimitNPROC|TasksMax)=", text, re.MULTILINE)


def system_calls(group: str) -> set[str]:
    """Return the system calls of a group, groups within it included."""
    found: set[str] = set()
    for line in command.run((program("systemd-analyze"), "syscall-filter", group), environment()).split():
        if line.startswith("@") and line != group:
            found |= system_calls(line)
        elif re.fullmatch(r"[a-z0-9_]+", line):
            found.add(line)
    return found


@pytest.mark.parametrize("name", UNITS)
def test_systemd_waits_longer_than_the_proxy(name: str) -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit(name), re.MULTILINE)
    example = tomllib.loads((DEPLOY.parent / "config.example.toml").read_text())
    assert int(seconds) > example["shutdown_grace"]


def test_systemd_makes_the_edge_nodes_directory_and_lets_it_write_nowhere_else() -> None:
    text = unit("twodfs-proxy-edge.service")
    (program_line,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    (state,) = re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE)
    (most,) = re.findall(r"^MemoryMax=(\d+)M$", text, re.MULTILINE)
    config = load({}, {}, DEPLOY / "systemd" / "edge.toml")
    assert f" --edge {config.edge.directory}" in program_line
    assert config.edge.directory == Path("/var/lib") / state
    assert "ReadWritePaths" not in text
    assert memory(config, int(most) * 2**20).level is Level.OK


def test_a_partition_comes_through_the_tls_front(registry: Registry, tmp_path: Path) -> None:
    """The repository's nginx configuration in the real nginx; only names and ports are changed."""
    require("nginx", "skopeo")
    cells = {(0, 0): {"a": b"1" * 300_000}, (0, 1): {"b": b"2"}}
    image = push_field_image(registry.url, "front/model", "v1", cells=cells)
    certificate, key = self_signed(tmp_path)
    port = free_port()
    origin = f"https://127.0.0.1:{port}"
    (tmp_path / "proxy").mkdir()
    (networks,) = re.findall(
        r"^#   trusted_proxies = (\[.*\])$",
        (DEPLOY / "nginx" / "twodfs-proxy.conf").read_text(),
        re.MULTILINE,
    )
    settings = {
        "TWODFS_PROXY_PUBLIC_URL": origin,
        "TWODFS_PROXY_TRUSTED_PROXIES": ",".join(json.loads(networks)),
    }
    with Proxy.start(tmp_path / "proxy", registry.url, environment=settings) as proxy:
        front = front_configuration(tmp_path, proxy.address, port, certificate, key)
        launch = Launch(
            argv=(program("nginx"), "-c", str(front), "-p", str(tmp_path)),
            log=tmp_path / "nginx.log",
            ready=listens(port),
            environment=environment(),
            directory=tmp_path,
        )
        with Server(launch) as nginx:
            nginx.launch()
            connection = HTTPSConnection(
                "127.0.0.1", port, timeout=20, context=ssl.create_default_context(cafile=str(certificate))
            )
            target = f"/v2/{image.repository}/manifests/v1--0.0.0.0"
            asked = {"Accept": INDEX, "X-Forwarded-For": "203.0.113.9"}
            status, headers, body = ask(connection, "GET", target, None, **asked)
            assert (status, headers["docker-content-digest"]) == (200, digest_of(body))
            layer = image.allotments[0, 0].blob
            status, _, body = ask(connection, "GET", f"/v2/{image.repository}/blobs/{layer.digest}")
            assert (status, digest_of(body)) == (200, layer.digest)
            status, headers, _ = ask(connection, "POST", f"/v2/{image.repository}/blobs/uploads/")
            assert (status, headers["location"].startswith(f"{origin}/v2/")) == (202, True)
            content = b"x" * 3_000_000  # more than nginx takes where nobody says otherwise
            place = headers["location"].removeprefix(origin)
            target = f"{place}{'&' if '?' in place else '?'}digest={digest_of(content)}"
            assert ask(connection, "PUT", target, content)[0] == 201
            assert ask(connection, "GET", "/healthz")[0] == 404  # health is on the admin listener alone
            connection.close()
            assert "203.0.113.9" in {line.get("remote") for line in proxy.log_events()}
            authorities = tmp_path / "authorities"
            authorities.mkdir()
            (authorities / "ca.crt").write_bytes(certificate.read_bytes())
            copied = tmp_path / "copied"
            with Skopeo.start(authorities) as skopeo:
                reference = image.reference(f"127.0.0.1:{port}", "v1--0.0.0.1")
                trusting = ("--src-tls-verify=true", "--src-cert-dir", str(authorities))
                skopeo.copy(reference, copied, None, *trusting)
            assert (copied / "index.json").exists()


def ask(
    connection: HTTPSConnection, method: str, target: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection.request(method, target, body, headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def front_configuration(directory: Path, proxy: str, port: int, certificate: Path, key: Path) -> Path:
    text = (DEPLOY / "nginx" / "twodfs-proxy.conf").read_text()
    changes = {
        "server 127.0.0.1:5000;": f"server {proxy};",
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "server_name models.example.org;": "server_name 127.0.0.1;",
        "/etc/nginx/tls/models.example.org.crt": str(certificate),
        "/etc/nginx/tls/models.example.org.key": str(key),
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    around = "".join(f"{one}_temp_path {directory}/{one};\n" for one in temporary)
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off;\nuser root;\npid {directory}/nginx.pid;\nerror_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{around}{text}}}\n"
    )
    return file


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1 and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = directory / "tls.crt", directory / "tls.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
