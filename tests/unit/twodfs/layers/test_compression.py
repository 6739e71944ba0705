import gzip
import hashlib
import io
import os
import random
import zlib
from pathlib import Path

import pytest
import zstandard

from twodfs.errors import BuildFileError
from twodfs.layers.build_file.cells import Copy
from twodfs.layers.compression import Compression, Packing, shrinks
from twodfs.layers.layer import Layer, LayerPlan
from twodfs.oci.documents import OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD

TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(20_000))
ZLIB = pytest.mark.skipif("ng" in zlib.ZLIB_RUNTIME_VERSION, reason="another deflate, other bytes")
ZSTD = pytest.mark.skipif(zstandard.ZSTD_VERSION != (1, 5, 7), reason="another zstd, other bytes")


def pack(content: bytes, directory: Path, packing: Packing) -> tuple[Layer, bytes]:
    (directory / "f").write_bytes(content)
    sink = io.BytesIO()
    layer = LayerPlan.of([Copy(directory / "f", "f", "allotments[0].src")]).write(sink, packing)
    assert layer.digest == f"sha256:{hashlib.sha256(sink.getvalue()).hexdigest()}"
    assert layer.size == len(sink.getvalue())
    return layer, sink.getvalue()


def weights(size: int) -> bytes:
    """Like float32 weights: a random sign and mantissa, an exponent of a narrow range."""
    chance = random.Random(1)
    return b"".join(chance.randbytes(3) + bytes([chance.choice((0x3B, 0x3C, 0xBB, 0xBC))]) for _ in range(size // 4))


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (TEXT, OCI_LAYER_GZIP),
        (weights(400_000), OCI_LAYER),
        (os.urandom(400_000), OCI_LAYER),
        (b"", OCI_LAYER_GZIP),
        (b"{}", OCI_LAYER_GZIP),
        (os.urandom(300_000) + bytes(300_000), OCI_LAYER_GZIP),
    ],
    ids=["text", "weights", "noise", "empty", "tiny", "half"],
)
def test_auto_compresses_what_shrinks(content: bytes, media_type: str, tmp_path: Path) -> None:
    layer, _ = pack(content, tmp_path, Packing())
    assert layer.media_type == media_type


def test_what_does_not_shrink_is_stored_within_gzip_for_the_original(tmp_path: Path) -> None:
    layer, blob = pack(weights(400_000), tmp_path, Packing(gzip_only=True))
    assert layer.media_type == OCI_LAYER_GZIP
    assert hashlib.sha256(gzip.decompress(blob)).hexdigest() == layer.diff_id.removeprefix("sha256:")
    assert len(blob) > 400_000


def test_zstd_is_one_frame_of_the_tar(tmp_path: Path) -> None:
    layer, blob = pack(TEXT, tmp_path, Packing(Compression.ZSTD))
    tar = zstandard.ZstdDecompressor().decompressobj().decompress(blob)
    assert layer.media_type == OCI_LAYER_ZSTD
    assert layer.diff_id == f"sha256:{hashlib.sha256(tar).hexdigest()}"


@pytest.mark.parametrize(
    ("packing", "digest"),
    [
        (
            Packing(Compression.NONE),
            "2e4ee330e28e32f0fddcdd27143ae9e7b1577475a5ebfc5a1d4602ef43cdaa72",
        ),
        pytest.param(
            Packing(Compression.AUTO),
            "0beef64e85495f5faaeaa48613bfbbd95e418cfc5631d075fb7848b0922e81bd",
            marks=ZLIB,
        ),
        pytest.param(
            Packing(Compression.GZIP),
            "0beef64e85495f5faaeaa48613bfbbd95e418cfc5631d075fb7848b0922e81bd",
            marks=ZLIB,
        ),
        pytest.param(
            Packing(Compression.GZIP, 9),
            "1508ac9dcf1c012ac8a6bb7baea20ea993b1f6485dbef81c9335e3ab79f6694c",
            marks=ZLIB,
        ),
        pytest.param(
            Packing(Compression.ZSTD),
            "0688a26dd355837123efaf92fcaa3eb7b62ad172fb9d0634289328baecb1032e",
            marks=ZSTD,
        ),
        pytest.param(
            Packing(Compression.ZSTD, 19),
            "65dd1403b734d05a875cfe7a683486c11ced7e5f2c29d962f04e0de6ee09931c",
            marks=ZSTD,
        ),
    ],
)
def test_every_machine_and_release_packs_the_same_bytes(packing: Packing, digest: str, tmp_path: Path) -> None:
    layer, _ = pack(TEXT, tmp_path, packing)
    assert layer.digest.removeprefix("sha256:") == digest


def test_gzip_says_how_hard_it_tried(tmp_path: Path) -> None:
    heads = {level: pack(TEXT, tmp_path, Packing(Compression.GZIP, level))[1][:10] for level in (1, 6, 9)}
    assert {level: head[8] for level, head in heads.items()} == {1: 4, 6: 0, 9: 2}
    assert {head[:8] + head[9:] for head in heads.values()} == {b"\x1f\x8b\x08\0\0\0\0\0\xff"}


def test_a_fifth_is_worth_it() -> None:
    noise = os.urandom(10_000)
    assert not shrinks([noise, noise, noise, noise, bytes(9_000)])
    assert shrinks([noise, noise, noise, bytes(10_000)])


@pytest.mark.parametrize(
    ("packing", "sentence"),
    [
        (Packing(Compression.GZIP, 10), "--compression gzip takes levels 1 to 9, not 10"),
        (Packing(Compression.ZSTD, 0), "--compression zstd takes levels 1 to 22, not 0"),
        (Packing(Compression.NONE, 1), "--compression none has no levels, not 1"),
        (
            Packing(Compression.ZSTD, gzip_only=True),
            "the original registry takes gzip alone; --compat does not go with --compression zstd",
        ),
    ],
)
def test_choices_that_do_not_go_together_are_refused(packing: Packing, sentence: str) -> None:
    with pytest.raises(BuildFileError) as failed:
        packing.check()
    assert str(failed.value) == sentence
