import tarfile
from pathlib import Path

import pytest

from twodfs.errors import FormatError
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.layer import LayerPlan
from twodfs.layers.members import Member, find_members


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A snapshot as `huggingface_hub` keeps it: links to the files of all snapshots."""
    repository = tmp_path / "hub" / "models--lab--tiny"
    for name in ("weights", "config"):
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        (repository / "blobs" / f"{name}-hash").write_bytes(name.encode() * 100)
    snapshot = repository / "snapshots" / "0123abcd"
    (snapshot / "deep").mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to("../../blobs/weights-hash")
    (snapshot / "deep" / "config.json").symlink_to("../../../blobs/config-hash")
    (snapshot / "same").symlink_to("deep/config.json")
    (tmp_path / "elsewhere").write_bytes(b"secret")
    return snapshot


def found(source: Path, *, pattern: str = "", follow: bool | None = None) -> dict[str, Member]:
    members = find_members([Copy(source, "m", "allotments[0].src", pattern, follow=follow)])
    return {one.name: one for one in members if not one.is_directory}


@pytest.mark.parametrize("pattern", ["", "**", "**/*"])
def test_the_files_of_a_snapshot_are_taken_and_its_own_links_kept(snapshot: Path, pattern: str) -> None:
    members = found(snapshot, pattern=pattern)
    kinds = {name: (one.kind, one.size, one.link) for name, one in members.items()}
    assert kinds == {
        "m/model.safetensors": (tarfile.REGTYPE, 700, ""),
        "m/deep/config.json": (tarfile.REGTYPE, 600, ""),
        "m/same": (tarfile.SYMTYPE, 0, "deep/config.json"),
    }


def test_a_snapshot_may_be_reached_through_a_link(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(snapshot)
    assert found(tmp_path / "model")["m/model.safetensors"].size == 700


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../../../../elsewhere", "it is not followed unasked"),
        ("/etc/hostname", "it is not followed unasked"),
        ("../../../other/blobs/x", "what it leads to is no file"),
        ("../../blobs/nowhere", "what it leads to is no file"),
        ("../../blobs", "what it leads to is no file"),
        ("/proc/self/fd", "what it leads to is no file"),
    ],
)
def test_other_links_that_leave_the_source_are_an_error_that_names_them(
    snapshot: Path, target: str, reason: str
) -> None:
    (snapshot / "odd").symlink_to(target)
    with pytest.raises(FormatError) as failed:
        found(snapshot)
    assert str(failed.value) == (
        f"{snapshot / 'odd'} is a link that leaves the source, to {target!r}: {reason}; "
        "'\"follow\": true' takes the files that links lead to, '\"follow\": false' keeps links as they are "
        "in 'allotments[0].src'"
    )
    assert found(snapshot, follow=False)["m/odd"].link == target


def test_a_link_out_of_a_directory_that_is_no_repository_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "src" / "link").symlink_to("../file")
    with pytest.raises(FormatError, match="not followed unasked"):
        found(tmp_path / "src")


def test_follow_takes_every_file_that_a_link_leads_to(snapshot: Path) -> None:
    (snapshot / "odd").symlink_to("../../../../elsewhere")
    (snapshot / "dangling").symlink_to("nowhere")
    (snapshot / "folder").symlink_to("deep")
    members = found(snapshot, follow=True)
    assert (members["m/odd"].size, members["m/same"].size) == (6, 600)
    assert [members[f"m/{name}"].link for name in ("dangling", "folder")] == ["nowhere", "deep"]


def test_a_link_that_leads_to_another_file_meanwhile_is_a_change(snapshot: Path) -> None:
    plan = LayerPlan.of([Copy(snapshot, "m", "allotments[0].src")])
    before = {one.name: one.stamp for one in plan.members}
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").symlink_to("../../blobs/config-hash")
    after = {one.name: one.stamp for one in LayerPlan.of(plan.copies).members}
    assert before["m/model.safetensors"] != after["m/model.safetensors"]
    assert after["m/model.safetensors"] == after["m/deep/config.json"]


def test_links_that_go_round_out_of_the_source_are_an_error(snapshot: Path) -> None:
    (snapshot / "loop").symlink_to("../loop")
    (snapshot.parent / "loop").symlink_to("0123abcd/loop")
    with pytest.raises(FormatError, match="what it leads to is no file"):
        found(snapshot)
