"""nginx in front of several replicas, each request to the next one."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tests.lab.process import Launch, Server, free_port, listens
from tests.lab.programs import environment, program


class Balancer(Server):
    """`with Balancer.start(directory, ["127.0.0.1:1", "127.0.0.1:2"]) as balancer: ...`."""

    def __init__(self, launch: Launch, port: int) -> None:
        super().__init__(launch)
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, directory: Path, addresses: Sequence[str]) -> Self:
        """Start nginx; it retries nothing, so what a replica gets wrong is seen."""
        directory.mkdir()
        port = free_port()
        servers = "".join(f"server {address} max_fails=0; " for address in addresses)
        config = directory / "nginx.conf"
        config.write_text(f"""
daemon off; master_process off; pid {directory}/pid; error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/1; uwsgi_temp_path {directory}/2; scgi_temp_path {directory}/3;
    upstream replicas {{ {servers}keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        client_max_body_size 0;
        location / {{
            proxy_pass http://replicas; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Host $http_host;
            proxy_next_upstream off;
        }}
    }}
}}
""")
        launch = Launch(
            argv=(program("nginx"), "-e", "stderr", "-c", str(config), "-p", str(directory)),
            log=directory / "nginx.log",
            ready=listens(port),
            environment=environment(),
            directory=directory,
            orphaned=signal.SIGKILL,
        )
        server = cls(launch, port)
        server.launch()
        return server
