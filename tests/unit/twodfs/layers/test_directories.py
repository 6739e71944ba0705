import json
from typing import Any

from twodfs.layers.directories import known_directories
from twodfs.oci.image_config import ImageConfig


def known(**settings: Any) -> dict[str, str]:
    content = {"config": settings, "rootfs": {"type": "layers", "diff_ids": []}}
    return known_directories([ImageConfig.parse(json.dumps(content).encode())])


def test_a_workdir_is_a_directory_and_so_is_what_leads_to_it() -> None:
    found = known(WorkingDir="/srv//models/")
    assert found["srv/models"] == "the base's WORKDIR"
    assert found["srv"] == "a directory of the base"


def test_volumes_and_the_path_are_directories() -> None:
    found = known(Volumes={"/data": {}}, Env=["PATH=/opt/bin:/usr/bin:relative:", "HOME=/root"])
    assert found["data"] == "a VOLUME of the base"
    assert found["opt/bin"] == "a directory of the base's PATH"
    assert "relative" not in found
    assert "opt" in found


def test_what_a_config_says_amiss_is_nothing() -> None:
    plain = known()
    assert {"proc", "sys", "dev", "etc"} == set(plain)
    assert known(WorkingDir=3, Volumes=[1], Env="PATH=/x") == plain
    assert known(WorkingDir="/", Volumes={"": {}}, Env=[None]) == plain
