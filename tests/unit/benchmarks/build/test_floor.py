import hashlib
from pathlib import Path

from benchmarks.build.floor import hashing, uploading
from benchmarks.models import Noise, make_model
from tests.lab.peers import require
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient


def test_all_files_are_hashed_and_then_are_in_the_registry(tmp_path: Path) -> None:
    require("curl", "docker-registry")
    model = make_model("MobileNetV2", tmp_path / "model", Noise(seed=1), splits=4, scale=0.01)
    _, digests = hashing(model)
    contents = {file: (model.directory / file).read_bytes() for file in model.files}
    assert digests == {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    with Registry.start(tmp_path) as registry, RegistryClient(registry.url) as client:
        assert uploading(model, digests, f"{registry.url}/v2/floor") > 0
        for file, content in contents.items():
            assert client.request("GET", f"/v2/floor/blobs/sha256:{digests[file]}").body == content
