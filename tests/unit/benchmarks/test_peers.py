import sys
from pathlib import Path

from benchmarks.peers import cpu_seconds
from tests.lab.process import Launch, Server
from tests.lab.programs import environment

BURN = """
import os, pathlib, sys, time

def burn(seconds):
    while time.process_time() < seconds:
        pass

burn(0.055)
if os.fork() == 0:  # its clock begins at nothing
    burn(0.065)
    pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def test_processor_time_is_that_of_a_server_and_the_processes_it_started(tmp_path: Path) -> None:
    done = tmp_path / "done"
    launch = Launch(
        argv=(sys.executable, "-c", BURN, str(done)),
        log=tmp_path / "log",
        ready=done.exists,
        environment=environment(),
        directory=tmp_path,
    )
    with Server(launch) as server:
        server.launch()
        used = cpu_seconds(server)
        assert 0.12 <= used < 2
        assert cpu_seconds(server) - used < 0.01
