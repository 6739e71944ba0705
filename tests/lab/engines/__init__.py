"""Real container engines, each pulling over plain HTTP from loopback into storage of its own."""

from tests.lab.engines.containerd import Containerd
from tests.lab.engines.docker import DockerEngine
from tests.lab.engines.engine import Engine, PullFailed, RunningEngine
from tests.lab.engines.podman import Podman
from tests.lab.engines.skopeo import Skopeo

__all__ = ["Containerd", "DockerEngine", "Engine", "Podman", "PullFailed", "RunningEngine", "Skopeo"]
