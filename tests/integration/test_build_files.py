"""What a build file says beside files and places, from the file to the partition that a proxy cuts."""

import hashlib
import json
from typing import Any

from tests.lab.images import push_image
from tests.lab.proxy import Proxy
from tests.lab.registry_client import RegistryClient
from tests.lab.workshop import SOURCE, Workshop
from twodfs.field.labels import Labels, read_labels

ALLOTMENT = {"src": "a.bin", "dst": "/models/", "row": 0, "col": 0}


def write(workshop: Workshop, *allotments: dict[str, Any], **more: Any) -> None:
    content = {"allotments": list(allotments or (ALLOTMENT,)), **more}
    (workshop.directory / "2dfs.json").write_text(json.dumps(content))


def pushed(workshop: Workshop, name: str, *options: str, base: str = "scratch") -> Any:
    return workshop.made("build", base, workshop.target(name), "--push", "--json", *options).json


def test_yaml_from_standard_input_with_variables_is_the_same_image(workshop: Workshop) -> None:
    write(workshop, {**ALLOTMENT, "row": 3, "src": "tokenizer"})
    digest = pushed(workshop, "files/json")["digest"]
    text = "allotments:\n- {src: '${DIR}', dst: /models/, row: '${ROW}', col: 0}\n"
    arguments = ("build", "scratch", workshop.target("files/yaml"), "--json", "-f", "-", "--set", "ROW=3")
    done = workshop.twodfs(*arguments, "--set=DIR=tokenizer", typed=text)
    assert (done.status, done.json["digest"]) == (0, digest)
    refused = workshop.twodfs(*arguments, typed=text)
    assert (refused.status, refused.json["error"]["message"]) == (
        2,
        "standard input: line 2: the variable DIR is not set; give it with --set DIR=VALUE in 'allotments[0].src'",
    )
    assert workshop.twodfs(*arguments, "--set", "ROW").status == 2


def test_without_a_name_the_yaml_is_taken_where_no_json_is(workshop: Workshop) -> None:
    (workshop.directory / "2dfs.yaml").write_text("allotments: [{src: a.bin, dst: /a, row: 7, col: 0}]")
    assert pushed(workshop, "files/both")["allotments"] == 3
    (workshop.directory / "2dfs.json").unlink()
    assert pushed(workshop, "files/both")["allotments"] == 1
    (workshop.directory / "2dfs.yaml").unlink()
    assert "cannot read the build file 2dfs.json: No such file" in workshop.twodfs("build", "scratch", "a/b").err


def test_settings_are_those_of_the_image_and_of_each_partition(workshop: Workshop, proxy: Proxy) -> None:
    base = push_image(workshop.registry.url, "base/set", "v1")
    write(
        workshop,
        labels={"org.opencontainers.image.version": "1.2.3"},
        annotations={"org.opencontainers.image.title": "parts"},
        env={"MODEL": "/models/a.bin"},
        entrypoint=["/bin/serve"],
        cmd=["--port", "80"],
        workdir="/models",
        user="10:10",
    )
    pushed(workshop, "files/set", base=base.reference())
    for tag, url in (("v1", None), ("v1--all", proxy.url), ("v1--base", proxy.url)):
        index = workshop.document("files/set", tag, url)
        assert index["annotations"]["org.opencontainers.image.title"] == "parts"
        (manifest,) = workshop.images("files/set", tag, url)
        assert manifest["annotations"]["org.opencontainers.image.title"] == "parts"
        told = _blob(proxy, "files/set", manifest["config"]["digest"])["config"]
        assert told["Labels"]["org.opencontainers.image.version"] == "1.2.3"
        assert "MODEL=/models/a.bin" in told["Env"]
        assert (told["Entrypoint"], told["Cmd"]) == (["/bin/serve"], ["--port", "80"])
        assert (told["WorkingDir"], told["User"]) == ("/models", "10:10")


def test_a_file_takes_the_place_of_no_directory_that_the_build_file_gives(workshop: Workshop) -> None:
    write(workshop, {**ALLOTMENT, "dst": "/models/llm"}, workdir="/models/llm")
    done = workshop.twodfs("build", "scratch", workshop.target("files/workdir"))
    assert (done.status, "'/models/llm' is the image's WORKDIR, and a file would take its place" in done.err) == (
        2,
        True,
    )


def test_images_of_several_platforms_have_fields_of_their_own(workshop: Workshop, proxy: Proxy) -> None:
    write(
        workshop,
        {"src": "a.bin", "dst": "/kernel", "row": 0, "col": 0, "platform": "linux/amd64", "label": "amd64's"},
        {"src": "c.bin", "dst": "/kernel", "row": 0, "col": 0, "platform": ["linux/arm64"], "label": "arm64's"},
        {"src": "tokenizer", "dst": "/tokenizer", "row": 0, "col": 1},
        {"src": "b.bin", "dst": "/extra", "row": 1, "col": 0, "platform": "linux/arm64"},
        partitions={"kernel": "0.0.0.0", "extra": "1.0.1.0"},
        default="kernel",
    )
    done = pushed(workshop, "files/several", "--platform", "linux/amd64,linux/arm64", "--compression", "none")
    assert (done["allotments"], len(done["fields"])) == (4, 2)
    amd, arm = (workshop.field("files/several", one) for one in workshop.images("files/several"))
    assert [[(one["row"], one["col"], one.get("label")) for one in cells] for cells in (amd, arm)] == [
        [(0, 0, "amd64's"), (0, 1, None)],
        [(0, 0, "arm64's"), (0, 1, None), (1, 0, None)],
    ]
    kernels = [amd[0]["digest"], arm[0]["digest"]]
    for tag in ("v1--kernel", "v1--default", "v1--0.0.0.0"):
        layers = [one["layers"] for one in workshop.images("files/several", tag, proxy.url)]
        assert [[one["digest"] for one in some] for some in layers] == [[f"sha256:{one}"] for one in kernels]
    index = workshop.document("files/several", "v1--extra", proxy.url)
    assert [one["platform"]["architecture"] for one in index["manifests"]] == ["arm64"]
    listed = workshop.document("files/several", "v1")["manifests"][-1]
    anchored = workshop.document("files/several", listed["digest"])["layers"]
    assert {one["digest"] for one in anchored} == {f"sha256:{one['digest']}" for one in (*amd, *arm)}
    assert {"--all", "--extra", "--kernel"} <= set(
        workshop.made("inspect", workshop.target("files/several")).out.split()
    )


def test_files_of_platforms_are_checked_against_their_own(workshop: Workshop) -> None:
    both = ["linux/amd64", "linux/arm64"]
    cells = [{"src": "tokenizer", "dst": "/t", "row": at, "col": 0, "platform": one} for at, one in enumerate(both)]
    write(workshop, *cells)
    target = workshop.target("files/apart")
    workshop.made("build", "scratch", target, "--platform", ",".join(both))
    assert workshop.made("build", "scratch", target, "--platform", both[1], "--json").json["allotments"] == 1
    done = workshop.twodfs("build", "scratch", target)
    assert done.err.endswith(
        "the base has no image for linux/arm64; it has one for linux/amd64 in 'allotments[1].platform'\n"
    )
    write(workshop, *cells, {"src": "tokenizer/merges.txt", "dst": "/t/", "row": 0, "col": 1})
    done = workshop.twodfs("build", "scratch", target, "--platform", ",".join(both))
    assert "'/t/merges.txt' comes twice: first in 'allotments[0].src', then in 'allotments[2].src'" in done.err
    write(workshop, cells[1])
    done = workshop.twodfs("build", "scratch", target, "--platform", ",".join(both))
    assert "no allotment is for linux/amd64, and the base has an image for it in 'allotments'" in done.err


def test_labels_are_in_the_field_and_move_no_layer(workshop: Workshop, proxy: Proxy) -> None:
    write(workshop)
    pushed(workshop, "files/plain")
    write(workshop, {**ALLOTMENT, "label": "first half"}, row_labels={"0": "language"}, column_labels={"0": "0 to 7"})
    pushed(workshop, "files/labelled")
    (plain,), (labelled,) = (list(workshop.images(f"files/{name}")) for name in ("plain", "labelled"))
    field = workshop.blob("files/labelled", labelled["layers"][-1]["digest"])
    assert read_labels(field) == Labels({0: "language"}, {0: "0 to 7"}, {(0, 0): "first half"})
    found, same = (next(iter(workshop.images(f"files/{name}", "v1--all", proxy.url))) for name in ("labelled", "plain"))
    assert found["layers"] == same["layers"]
    assert plain["layers"] != labelled["layers"]


def test_the_original_form_is_refused_what_it_cannot_say(workshop: Workshop) -> None:
    for more, phrase, key in (
        ({"default": "all"}, "named partitions", "default"),
        ({"cmd": ["x"]}, "settings of the image", "cmd"),
        ({"row_labels": {"0": "x"}}, "labels", "row_labels"),
    ):
        write(workshop, **more)
        done = workshop.twodfs("build", "scratch", "a/b", "--compat")
        assert (done.status, done.err) == (
            2,
            f"twodfs: --compat knows no {phrase}; leave out '{key}', or --compat\n",
        )


def test_each_match_is_a_layer_and_what_is_ignored_is_in_none(workshop: Workshop) -> None:
    for name in ("part-10", "part-9", "part-x.tmp"):
        (workshop.directory / name).write_bytes(name.encode())
    write(workshop, {"src": "part-*", "dst": "/m", "row": 0, "col": 2, "each": "column"}, ignore=["*.tmp"])
    pushed(workshop, "files/each", "--compression", "none")
    (manifest,) = workshop.images("files/each")
    cells = workshop.field("files/each", manifest)
    assert [(one["row"], one["col"]) for one in cells] == [(0, 2), (0, 3)]
    assert b"m/part-9\0" in workshop.blob("files/each", f"sha256:{cells[0]['digest']}")


def test_the_schema_is_printed(workshop: Workshop) -> None:
    assert workshop.made("schema").out == (SOURCE / "docs" / "build-file.schema.json").read_text()


def _blob(proxy: Proxy, repository: str, digest: str) -> Any:
    with RegistryClient(proxy.url) as client:
        body = client.request("GET", f"/v2/{repository}/blobs/{digest}").body
    assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
    return json.loads(body)
