import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.cache.archive.facts import FACTS, CarriedAnswer, Facts
from proxy.cache.archive.holding import read_holding
from tests.lab.edge_commands import cache_command
from twodfs.errors import BuildError
from twodfs.oci.digest import Digest, digest_of

ANSWER = CarriedAnswer(
    "library/model", "manifests/v1", "iml", 200, digest_of(b"x"), "application/json", (("ETag", '"x"'),), "", 1.5
)
NONE = CarriedAnswer("library/model", f"referrers/{digest_of(b'x')}", "", 404, "", "", (), '{"errors":[]}', 2.0)
OF_HUB = replace(ANSWER, repository="hub!library/model", asked_at=3.5)


def test_facts_survive_and_have_one_spelling() -> None:
    facts = Facts((NONE, ANSWER, OF_HUB), {digest_of(b"y"): 7})
    decoded = Facts.decode(facts.encode(), "x.tar")
    assert set(decoded.answers) == {NONE, ANSWER, OF_HUB}
    assert decoded.left_out == {digest_of(b"y"): 7}
    assert Facts((OF_HUB, ANSWER, NONE), {digest_of(b"y"): 7}).encode() == facts.encode()
    assert ANSWER.row.answer.digest == digest_of(b"x")
    assert CarriedAnswer.of(ANSWER.row) == ANSWER


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"resource": "blobs/uploads/"}, "in 'answers[0].resource'"),
        ({"resource": "manifests/../../x"}, "in 'answers[0].resource'"),
        ({"repository": "../x"}, "in 'answers[0].repository'"),
        ({"repository": "Hub!x"}, "in 'answers[0].repository'"),
        ({"repository": "hub!"}, "in 'answers[0].repository'"),
        ({"repository": "a!b!c"}, "in 'answers[0].repository'"),
        ({"status": 302}, "in 'answers[0].status'"),
        ({"digest": ""}, "in 'answers[0].status'"),
        ({"digest": "sha256:x"}, "in 'answers[0].digest'"),
        ({"askedAt": -1}, "in 'answers[0].askedAt'"),
        ({"askedAt": True}, "in 'answers[0].askedAt'"),
        ({"headers": [["Set-Cookie", "a\r\nb"]]}, "in 'answers[0].headers[0]'"),
        ({"headers": [["A", "b"]] * 17}, "in 'answers[0].headers[16]'"),
        ({"body": "x" * 5000}, "in 'answers[0].body'"),
        ({"accept": "../"}, "in 'answers[0].accept'"),
    ],
)
def test_answers_that_no_node_would_keep_are_refused(changed: dict[str, Any], problem: str) -> None:
    raw = {"version": 1, "answers": [{**ANSWER.to_dict(), **changed}], "leftOut": []}
    with pytest.raises(BuildError) as caught:
        Facts.decode(orjson.dumps(raw), "x.tar")
    assert problem in str(caught.value)
    with pytest.raises(BuildError, match="version 2"):
        Facts.decode(b'{"version":2}', "x.tar")


def test_what_the_other_side_has_is_read_from_its_list_or_an_archive(tmp_path: Path) -> None:
    here, left_out = digest_of(b"here"), digest_of(b"left out")
    (tmp_path / "list.json").write_bytes(orjson.dumps({"blobs": [{"digest": here}], "images": []}))
    write_tar(tmp_path / "x.tar", {f"blobs/sha256/{here[7:]}": b"here", FACTS: Facts((), {left_out: 8}).encode()})
    listed, carried = read_holding(tmp_path / "list.json"), read_holding(tmp_path / "x.tar")
    other = Digest("sha256:" + "0" * 64)
    assert (listed(here), listed(left_out), listed(other)) == (True, False, False)
    assert (carried(here), carried(left_out), carried(other)) == (True, True, False)
    (tmp_path / "bad.json").write_text('{"blobs": [{"digest": 3}]}')
    with pytest.raises(BuildError, match=r"no list of 'twodfs-proxy cache ls --json'.*blobs\[0\]\.digest"):
        read_holding(tmp_path / "bad.json")


def write_tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)


LAYOUT = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
EMPTY = b'{"schemaVersion":2,"manifests":[]}'


@pytest.mark.parametrize(
    ("files", "links", "problem"),
    [
        ({"../../etc/cron.d/x": b""}, {}, "leads out of the archive"),
        ({"/etc/cron.d/x": b""}, {}, "leads out of the archive"),
        ({}, {"blobs/sha256/x": "../../../etc"}, "leads out of the archive"),
        ({}, {"x": "/etc/passwd"}, "leads out of the archive"),
        ({}, {}, "it lacks oci-layout or index.json"),
        ({**LAYOUT, "index.json": b"["}, {}, "index.json: not JSON"),
        ({**LAYOUT, "index.json": EMPTY}, {}, "names no image"),
        ({**LAYOUT, "index.json": EMPTY, FACTS: b"{}"}, {}, "2dfs-edge.json"),
    ],
)
def test_what_is_no_archive_of_images_is_refused(
    tmp_path: Path, files: dict[str, bytes], links: dict[str, str], problem: str
) -> None:
    write_tar(tmp_path / "x.tar", files, links)
    done = cache_command(tmp_path / "edge", "import", tmp_path / "x.tar")
    assert (done.status, problem in done.err) == (1, True), done.err
    assert not list((tmp_path / "edge/blobs/sha256").iterdir())
