"""Tags that look like partitions: nobody's push of one is lost, and who asks for one in vain hears why."""

import socket
import subprocess
from collections.abc import Iterator

import orjson
import pytest

from tests.lab.documents import OCI, FieldStyle
from tests.lab.images import PushedImage, push, push_field_image, push_image
from tests.lab.layers import Blob
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry
from tests.lab.registry_client import Answer, RegistryClient
from tests.lab.workshop import Workshop

REPOSITORY = "looks/model"
CELLS = {(row, col): {f"{row}/{col}": b"%d-%d" % (row, col)} for row in range(3) for col in range(3)}
NAMES = {"gpu": "0.0.0.2", "edge": "1.0.1.2", "cpu": "2.0.2.2"}
READER = ("reader", "readers-own-password")
TYPES = {"Content-Type": OCI.manifest}


@pytest.fixture(scope="module")
def image(registry: Registry) -> PushedImage:
    style = FieldStyle(more={"partitions": NAMES})
    return push_field_image(registry.url, REPOSITORY, "v1", cells=CELLS, field_style=style)


@pytest.fixture(scope="module")
def plain(registry: Registry) -> PushedImage:
    return push_image(registry.url, "looks/base", "v1", kind="oci-manifest")


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RegistryClient]:
    with RegistryClient(proxy.url) as connection:
        yield connection


@pytest.fixture
def direct(registry: Registry) -> Iterator[RegistryClient]:
    with RegistryClient(registry.url) as connection:
        yield connection


def said(answer: Answer) -> tuple[int, str, str]:
    (error,) = orjson.loads(answer.body)["errors"]
    return answer.status, error["code"], error["message"]


def tags(client: RegistryClient, repository: str) -> list[str]:
    found: list[str] = orjson.loads(client.request("GET", f"/v2/{repository}/tags/list").body)["tags"]
    return found


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("v1--0.0.1.2", "v1--0.0.1.2"),
        ("v1+0.0.1.2", "v1--0.0.1.2"),
        ("v1--edge", "v1--edge"),
        ("v1--all", "v1--all"),
        ("v1--base", "v1--base"),
        ("v1--edge--2.0.2.2", "v1--edge--2.0.2.2"),
        ("v1--9.9.9.9", "v1--9.9.9.9"),
        ("v1--2.0.1.0", "v1--2.0.1.0"),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_write_of_a_partition_is_refused_and_reaches_nothing(
    client: RegistryClient, direct: RegistryClient, image: PushedImage, method: str, tag: str, shown: str
) -> None:
    before = tags(direct, REPOSITORY)
    body = image.platform().manifest.content if method == "PUT" else None
    answer = client.request(method, f"/v2/{REPOSITORY}/manifests/{tag}", headers=TYPES, body=body)
    sentence = f"{shown} names a partition of {REPOSITORY}:v1, which is computed; push to another tag"
    assert said(answer) == (405, "UNSUPPORTED", sentence)
    assert answer.headers["allow"] == "GET, HEAD"
    assert tags(direct, REPOSITORY) == before
    assert client.get_manifest(REPOSITORY, "v1").body == image.top.content, "the connection goes on"


def test_writes_of_other_tags_and_of_digests_go_on(
    client: RegistryClient, direct: RegistryClient, image: PushedImage, plain: PushedImage
) -> None:
    document = Blob(image.platform().manifest.content + b" ", OCI.manifest)
    for tag in ("v2", "unknown--0.0.1.2", "v1--nobody", "v1--edge--nobody", "v1--0.0.1", "v1---edge"):
        client.push_manifest(REPOSITORY, tag, document)
        assert direct.get_manifest(REPOSITORY, tag).body == document.content
    top = Blob(plain.top.content, plain.top.media_type)
    client.push_manifest("looks/base", "v1--0.0.1.2", top)
    assert direct.get_manifest("looks/base", "v1--0.0.1.2").body == top.content
    answer = client.request("PUT", f"/v2/{REPOSITORY}/manifests/{document.digest}", headers=TYPES, body=b"{}")
    assert answer.status == 400, "the registry's own word"
    # docker-registry deletes nothing by tag, whoever asks.
    answer = client.request("DELETE", f"/v2/{REPOSITORY}/manifests/v1--nobody")
    assert said(answer) == said(direct.request("DELETE", f"/v2/{REPOSITORY}/manifests/v1--nobody"))


def test_a_push_to_what_became_a_partition_is_refused(registry: Registry, client: RegistryClient) -> None:
    """The push of the image itself is what makes its partitions."""
    one = push_field_image(registry.url, "looks/later", "v0", cells=CELLS)
    document = one.platform().manifest
    client.push_manifest("looks/later", "v1--0.0.0.0", document)
    client.push_manifest("looks/later", "v1", one.top)
    answer = client.request("PUT", "/v2/looks/later/manifests/v1--0.0.0.0", headers=TYPES, body=document.content)
    assert said(answer)[:2] == (405, "UNSUPPORTED")


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.usefixtures("image")
def test_a_body_that_is_refused_does_not_become_the_next_request(proxy: Proxy, *, waits: bool) -> None:
    host, _, port = proxy.address.rpartition(":")
    smuggled = b"GET /v2/smuggled/manifests/x HTTP/1.1\r\nHost: h\r\n\r\n"
    head = f"PUT /v2/{REPOSITORY}/manifests/v1--0.0.0.0 HTTP/1.1\r\nHost: h\r\n"
    head += f"Content-Length: {len(smuggled)}\r\n"
    expects = "Expect: 100-continue\r\n" if waits else ""
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"{head}{expects}\r\n".encode())
        answer = connection.recv(65536)
        connection.sendall(smuggled)
        answer += b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.usefixtures("image")
def test_skopeo_is_told_that_a_partition_cannot_be_pushed(
    registry: Registry,
    proxy: Proxy,
) -> None:
    require("skopeo")
    argv = [
        program("skopeo"),
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ]
    places = [f"docker://{proxy.address}/{REPOSITORY}:{tag}" for tag in ("v1--0.0.1.2", "v1--edge")]
    done = subprocess.run([*argv, *places], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode
    assert "names a partition of looks/model:v1, which is computed; push to another tag" in done.stderr
    with RegistryClient(registry.url) as client:
        assert "v1--edge" not in tags(client, REPOSITORY)


@pytest.mark.parametrize(
    ("repository", "tag", "sentence"),
    [
        (
            REPOSITORY,
            "v1--edg",
            f"{REPOSITORY}:v1 has no partition called edg; it has cpu, edge, gpu, all and base",
        ),
        (REPOSITORY, "v1--edg--cpu", "has no partition called edg; it has cpu, edge, gpu, all and base"),
        (REPOSITORY, "v1--b--a--cpu", "has no partition called a--b; it has cpu, edge, gpu, all and base"),
        ("looks/base", "v1--edge", "looks/base:v1 is an ordinary image, without a field"),
        ("looks/base", "v1--0.0.0.0", "looks/base:v1 is an ordinary image, without a field"),
        (
            REPOSITORY,
            "v1--0.0.0",
            "0.0.0 is no partition of looks/model:v1: a rectangle has four numbers, first-row.first-column.",
        ),
        (REPOSITORY, "v1--edge--1.2.3.4.5", f"1.2.3.4.5 is no partition of {REPOSITORY}:v1"),
    ],
)
@pytest.mark.usefixtures("image", "plain")
def test_who_may_read_the_image_hears_why_a_tag_is_no_partition(
    client: RegistryClient, repository: str, tag: str, sentence: str
) -> None:
    status, code, message = said(client.get_manifest(repository, tag))
    assert (status, code) == (404, "MANIFEST_UNKNOWN")
    assert sentence in message
    for accept in (OCI.manifest, OCI.index, "*/*"):
        head = client.request("HEAD", f"/v2/{repository}/manifests/{tag}", headers={"Accept": accept})
        assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize("tag", ["v1--0.0", "v0--edge", "v0--0.0.0", "v0--0.0.0.0", "v1--a.b", "v1--7"])
@pytest.mark.usefixtures("plain")
def test_where_nothing_helps_the_registrys_own_words_are_the_answer(
    client: RegistryClient, direct: RegistryClient, tag: str
) -> None:
    through, straight = (one.get_manifest("looks/base", tag) for one in (client, direct))
    assert (through.status, through.body) == (straight.status, straight.body)
    assert straight.status == 404


@pytest.mark.usefixtures("image")
def test_a_real_tag_is_never_explained_away(registry: Registry, client: RegistryClient, plain: PushedImage) -> None:
    for repository, tag in ((REPOSITORY, "v1--1.0"), (REPOSITORY, "v1--real"), ("looks/base", "v1--real")):
        push(plain, registry.url, repository, tag)
        answer = client.get_manifest(repository, tag)
        assert (answer.status, answer.body) == (200, plain.top.content)


@pytest.mark.usefixtures("image")
def test_asking_again_in_vain_reads_no_document_again(
    registry: Registry,
    client: RegistryClient,
) -> None:
    client.get_manifest(REPOSITORY, "v1--nope")
    before = len(registry.requests())
    for _ in range(3):
        client.get_manifest(REPOSITORY, "v1--nope")
    asked = [(one.method, one.target) for one in registry.requests()[before:]]
    base, literal = (f"/v2/{REPOSITORY}/manifests/{tag}" for tag in ("v1", "v1--nope"))
    assert asked == [("HEAD", base), ("GET", literal)] * 3


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Proxy]]:
    require("docker-registry")
    behind, before = (tmp_path_factory.mktemp(name) for name in ("private", "before"))
    with (
        Registry.start(behind, htpasswd=dict([READER])) as registry,
        Proxy.start(before, registry.url) as proxy,
    ):
        style = FieldStyle(more={"partitions": NAMES})
        push_field_image(registry.url, REPOSITORY, "v1", cells=CELLS, field_style=style, credentials=READER)
        yield registry, proxy


@pytest.mark.parametrize("tag", ["v1--edg", "v1--0.0.0", "v1--0.0.0.0", "v1--edge"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_who_may_not_read_the_image_hears_the_registry_alone(
    private: tuple[Registry, Proxy], method: str, tag: str
) -> None:
    registry, proxy = private
    target = f"/v2/{REPOSITORY}/manifests/{tag}"
    body = b"{}" if method == "PUT" else None
    with RegistryClient(proxy.url, READER) as reader:  # what is known by then is not for strangers
        assert reader.get_manifest(REPOSITORY, tag).status in (200, 404)
    for credentials in (None, ("reader", "wr0ng")):
        with (
            RegistryClient(proxy.url, credentials) as through,
            RegistryClient(registry.url, credentials) as straight,
        ):
            answers = [one.request(method, target, headers=TYPES, body=body) for one in (through, straight)]
        assert answers[0].status == answers[1].status == 401
        assert answers[0].body == answers[1].body


def test_the_doctor_names_tags_that_hide_behind_partitions(registry: Registry, workshop: Workshop) -> None:
    style = FieldStyle(more={"partitions": NAMES})
    one = push_field_image(registry.url, "looks/hidden", "v1", cells=CELLS, field_style=style, anchor=True)
    healthy = workshop.twodfs("doctor", workshop.target("looks/hidden"), "--json")
    assert (healthy.status, healthy.json["hiddenTags"]) == (0, [])
    with RegistryClient(registry.url) as client:
        for tag in ("v1--0.0.1.2", "v1--edge", "v1--nobody", "v2--edge", "v1--0.0.1", "v10"):
            client.push_manifest("looks/hidden", tag, one.top)
    told = workshop.twodfs("doctor", workshop.target("looks/hidden"))
    assert told.status == 0, "nothing is missing"
    assert "2 tags hidden by partitions of this image: v1--0.0.1.2, v1--edge; " in told.out
    assert "delete them at the registry, past the proxy" in told.out
