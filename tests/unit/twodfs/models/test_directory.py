import os
import re
from pathlib import Path

import pytest

from twodfs.errors import FormatError
from twodfs.models.directory import ModelDirectory


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"1")
    return root


def weights(root: Path) -> list[str]:
    return [one.name for one in ModelDirectory.look_at(root).weights]


def small(root: Path) -> list[str]:
    return [one.name for one in ModelDirectory.look_at(root).small]


def test_weights_stand_in_natural_order_apart_from_small_files(tmp_path: Path) -> None:
    make(tmp_path, "part-10.gguf", "part-9.GGUF", "config.json", "sub/a.bin", "LICENSE", "sub/vocab.txt")
    assert weights(tmp_path) == ["part-9.GGUF", "part-10.gguf", "sub/a.bin"]
    assert small(tmp_path) == ["LICENSE", "config.json", "sub/vocab.txt"]


def test_big_files_of_another_kind_are_weights(tmp_path: Path) -> None:
    make(tmp_path, "a.gguf", "onnx__MatMul_7", "tokenizer.json")
    os.truncate(tmp_path / "onnx__MatMul_7", 64 * 2**20)
    os.truncate(tmp_path / "tokenizer.json", 64 * 2**20 - 1)
    assert weights(tmp_path) == ["a.gguf", "onnx__MatMul_7"]


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a.gguf", ".git/objects/b.bin", ".cache/c.bin", ".gitattributes", "__pycache__/d.bin", "sub/.e.bin")
    assert (weights(tmp_path), small(tmp_path)) == (["a.gguf"], [])


def hub(root: Path) -> Path:
    repository = make(root / "models--lab--tiny", "blobs/aa", "blobs/bb", "refs/main")
    (repository / "refs" / "main").write_text("0123")
    for revision in ("0123", "4567"):
        snapshot = repository / "snapshots" / revision
        snapshot.mkdir(parents=True)
        (snapshot / "model.safetensors").symlink_to("../../blobs/aa")
        (snapshot / "config.json").symlink_to("../../blobs/bb")
    return repository


def test_a_snapshot_of_a_hubs_cache_is_named_for_its_repository(tmp_path: Path) -> None:
    found = ModelDirectory.look_at(hub(tmp_path) / "snapshots" / "4567")
    assert (found.name, weights(found.path), small(found.path)) == ("tiny", ["model.safetensors"], ["config.json"])


def test_of_a_repository_the_snapshot_of_main_is_taken(tmp_path: Path) -> None:
    repository = hub(tmp_path)
    assert ModelDirectory.look_at(repository).path == repository / "snapshots" / "0123"
    (repository / "refs" / "main").unlink()
    with pytest.raises(FormatError, match=r"holds 2 snapshots, and none is named 'main'; give one of them"):
        ModelDirectory.look_at(repository)
    (repository / "refs" / "main").write_text("..")
    with pytest.raises(FormatError, match="holds 2 snapshots"):
        ModelDirectory.look_at(repository)


@pytest.mark.parametrize(
    ("target", "mistake"),
    [
        ("/etc/passwd", "is a link that leaves the source, to '/etc/passwd': it is not followed unasked"),
        ("../outside", "is a link that leaves the source, to '../outside': it is not followed unasked"),
        ("../none", "what it leads to is no file"),
        ("none", "No such file or directory"),
        ("sub", "is a link to a directory"),
        ("config.json", "Too many levels of symbolic links"),
    ],
)
def test_links_that_lead_out_are_refused(target: str, mistake: str, tmp_path: Path) -> None:
    make(tmp_path, "outside")
    root = make(tmp_path / "model", "a.gguf", "sub/b")
    (root / "config.json").symlink_to(target)
    with pytest.raises(FormatError, match=re.escape(mistake)):
        ModelDirectory.look_at(root)


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    make(tmp_path, "README.md")
    with pytest.raises(FormatError, match="holds no file of weights; is it a model's directory"):
        ModelDirectory.look_at(tmp_path)
    with pytest.raises(FormatError, match="is no directory; give the directory that the file is in"):
        ModelDirectory.look_at(tmp_path / "README.md")
    with pytest.raises(FormatError, match="does not exist"):
        ModelDirectory.look_at(tmp_path / "none")
    os.mkfifo(tmp_path / "a.bin")
    with pytest.raises(FormatError, match="is no regular file"):
        ModelDirectory.look_at(tmp_path)


def test_a_set_of_gguf_files_is_whole(tmp_path: Path) -> None:
    make(tmp_path, "q4-00001-of-00003.gguf", "q4-00003-of-00003.gguf")
    with pytest.raises(FormatError, match=r"'q4-00002-of-00003.gguf' is missing: 2 of 00003 are there"):
        ModelDirectory.look_at(tmp_path)
    make(tmp_path, "q4-00002-of-00003.gguf", "q8.gguf")
    assert len(weights(tmp_path)) == 4


def test_a_sharded_state_is_known_by_ranks(tmp_path: Path) -> None:
    make(
        tmp_path,
        "model-rank-0-part-0.safetensors",
        "model-rank-1-part-0.safetensors",
        "model-rank-0-part-1.safetensors",
    )
    ranks = ModelDirectory.look_at(tmp_path).ranks
    assert ranks is not None
    assert sorted(ranks) == [(0, 0), (0, 1), (1, 0)]
    assert ranks[1, 0].name == "model-rank-0-part-1.safetensors"
    make(tmp_path, "model.safetensors")
    assert ModelDirectory.look_at(tmp_path).ranks is None


def test_a_pointer_of_git_lfs_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(FormatError, match=r"is a pointer of Git LFS; 'git lfs pull' gets the file itself"):
        ModelDirectory.look_at(tmp_path)
