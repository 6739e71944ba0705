"""Docker Hub and a private registry as a network of the lab has them, and the proxy before both in the same network."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tests.lab import hub_tokens
from tests.lab.images import PushedImage, push_field_image, push_image
from tests.lab.internet import Internet
from tests.lab.process import Launch, Server
from tests.lab.programs import environment
from tests.lab.registry import Registry
from tests.lab.token_server import ISSUER, SERVICE

HUB: Final = "docker.io/library/model"
PRIVATE: Final = "registry.example.org/team/model"
LOGIN: Final = ("dora", "dora-has-a-word")
CELLS: Final = {
    (row, column): {f"{row}-{column}.bin": b"%d/%d " % (row, column) * 1000} for row in range(3) for column in range(3)
}

_ADDRESSES: Final = {
    "registry-1.docker.io": "127.0.1.1",
    "docker.io": "127.0.1.1",
    "index.docker.io": "127.0.1.1",
    "auth.docker.io": "127.0.0.1",
    "registry.example.org": "127.0.1.2",
    "hub.mirror.internal": "127.0.0.1",
    "example.mirror.internal": "127.0.0.1",
}
_REPOSITORY: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class MirroredRegistry:
    """A registry and what is in it: an image with a field, `:v1`, and one without, `:plain`."""

    registry: Registry
    model: PushedImage
    plain: PushedImage


@dataclass(slots=True)
class MirroredRegistries:
    """Both registries in their network."""

    internet: Internet
    hub: MirroredRegistry
    private: MirroredRegistry
    directory: Path
    _runs: int = field(default=0, init=False)

    @contextmanager
    def proxy(self, config: str) -> Iterator[Server]:
        """Run the proxy in the network; yields it when its administrative address says that it is alive."""
        self._runs += 1
        file = self.directory / f"proxy-{self._runs}.toml"
        file.write_text(config)
        server = Server(
            Launch(
                argv=self.internet.argv(sys.executable, "-m", "proxy", "--config", str(file)),
                log=file.with_suffix(".log"),
                ready=self.internet.answers("http://127.0.0.1:9464/healthz"),
                environment=environment(PYTHONPATH=str(_REPOSITORY), SSL_CERT_FILE=str(self.internet.authority.bundle)),
                directory=self.directory,
            )
        )
        with server:
            server.launch()
            yield server


@contextmanager
def mirrored_registries(directory: Path) -> Iterator[MirroredRegistries]:
    """Start both: Docker Hub gives anyone who asks a token to pull, the private registry wants a login."""
    with ExitStack() as stack:
        internet = stack.enter_context(Internet.start(_made(directory / "internet"), _ADDRESSES))
        issuer = stack.enter_context(_tokens(internet, _made(directory / "tokens")))
        token = {"realm": f"{hub_tokens.ORIGIN}/token", "service": SERVICE, "issuer": ISSUER}
        hub = {"auth": {"token": {**token, "rootcertbundle": str(issuer)}}}
        yield MirroredRegistries(
            internet,
            stack.enter_context(_served(internet, directory / "hub", HUB, "registry-1.docker.io", hub)),
            stack.enter_context(_served(internet, directory / "private", PRIVATE, "registry.example.org", {}, LOGIN)),
            directory,
        )


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@contextmanager
def _tokens(internet: Internet, directory: Path) -> Iterator[Path]:
    """Run Docker Hub's token server; yields the certificate of whom registries have to believe."""
    pair = internet.authority.issue("auth", urlsplit(hub_tokens.ORIGIN).netloc)
    argv = (sys.executable, "-m", hub_tokens.__name__, str(directory), str(pair.certificate), str(pair.key))
    server = Server(
        Launch(
            argv=internet.argv(*argv),
            log=directory / "tokens.log",
            ready=internet.answers(f"{hub_tokens.ORIGIN}/token"),
            environment=environment(PYTHONPATH=str(_REPOSITORY)),
            directory=directory,
        )
    )
    with server:
        server.launch()
        yield directory / "issuer.pem"


@contextmanager
def _served(
    internet: Internet,
    directory: Path,
    image: str,
    host: str,
    settings: Mapping[str, Any],
    login: tuple[str, str] | None = None,
) -> Iterator[MirroredRegistry]:
    """Fill a registry where we reach it, then serve what is in it to the network alone, under the name of a host."""
    repository = image.partition("/")[2]
    with Registry.start(_made(directory)) as ours:
        cells = {cell: {**files, "registry": host.encode()} for cell, files in CELLS.items()}
        model = push_field_image(ours.url, repository, "v1", cells=cells)
        plain = push_image(ours.url, repository, "plain", base={"registry": host.encode()})
    pair = internet.authority.issue(host, host)
    with Registry.start(
        directory,
        host=internet.addresses[host],
        port=443,
        htpasswd=None if login is None else {login[0]: login[1]},
        extra_config={**settings, "http": {"tls": {"certificate": str(pair.certificate), "key": str(pair.key)}}},
        within=internet.argv(),
        ready=internet.answers(f"https://{host}/v2/"),
    ) as registry:
        yield MirroredRegistry(registry, model, plain)
