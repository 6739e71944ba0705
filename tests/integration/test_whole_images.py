"""The plain tag of a 2DFS image, which no engine can unpack: a clear failure, whatever the engine has."""

import json
from pathlib import Path

import pytest

from tests.integration.workshop import CONTENT, Workshop
from tests.lab.engines import Docker, Podman
from tests.lab.engines.engine import PullFailed
from tests.lab.images import push_image
from tests.lab.proxy import Proxy
from twodfs.oci import Json

BASE = {"base": b"base"}
