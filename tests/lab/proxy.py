"""Our own service as a real process, started the way an operator starts it."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.lab import loops
from tests.lab.process import Launch, Server, answers_http, free_port
from tests.lab.programs import environment as peer_environment

_SETTLED = 0.05
_REPOSITORY = Path(__file__).parents[2]


class Proxy(Server):
    """`with Proxy.start(directory, registry.url) as proxy: ...`."""

    def __init__(self, launch: Launch, address: str, admin_address: str) -> None:
        super().__init__(launch)
        self.address = address
        self.url = f"http://{address}"
        self.admin_url = f"http://{admin_address}"

    @classmethod
    def start(
        cls,
        directory: Path,
        upstream: str,
        *extra: str,
        port: int | None = None,
        admin_port: int | None = None,
        config: str | None = None,
        environment: Mapping[str, str] | None = None,
        ready: str = "/readyz",
        module: str = "proxy",
        under: Sequence[str] = ("-m",),
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
    ) -> Self:
        """Start the proxy in front of `upstream` and wait until `ready` of the admin listener says 200.

        `extra` are more command-line arguments; `config` is the text of a configuration file, handed over
        with `--config`; `environment` is added to ours; `module` is what runs in place of `proxy`,
        `under` what stands between the interpreter and its name. `within` is the command that runs it elsewhere,
        such as in a network namespace, where it is to listen on another `host`.
        """
        port, admin_port = port or free_port(), admin_port or free_port()
        address, admin_address = f"{host}:{port}", f"{host}:{admin_port}"
        argv = [*within, sys.executable, *under, module, "--upstream", upstream]
        argv += ["--listen", address, "--admin", admin_address]
        if config is not None:
            file = directory / "config.toml"
            file.write_text(config)
            argv += ["--config", str(file)]
        watched = loops.environment(module, "proxy.workers.worker")
        launch = Launch(
            argv=(*argv, *extra),
            log=directory / "proxy.log",
            ready=answers_http((host, admin_port), ready),
            environment=peer_environment(**{**watched, **(environment or {})}),
            directory=_REPOSITORY,  # where `-m proxy` is found
        )
        proxy = cls(launch, address, admin_address)
        proxy.launch()
        return proxy

    def terminate(self, grace: float = 60.0) -> int:
        """Ask the proxy to end and wait for it; returns its exit code."""
        return self.stop(grace)

    def log_events(self) -> list[dict[str, Any]]:
        """Return the lines logged so far; those that are not JSON are the interpreter's own tracebacks."""
        written = ""
        while written != (now := self.log.read_text(errors="replace")):  # a thread writes it
            written = now
            time.sleep(_SETTLED)
        complete = written[: written.rfind("\n") + 1].splitlines()
        return [json.loads(line) for line in complete if line.startswith("{")]
