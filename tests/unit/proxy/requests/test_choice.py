"""Which of several registries a request is for."""

import pytest

from proxy.config import UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.choice import ChosenRegistry, RegistryChoice, UnknownNamespaceError
from proxy.requests.grammar import GrammarError

CORP = UpstreamConfig(name="corp", url="https://registry.corp.example:5443")
HUB = UpstreamConfig(name="hub", url="https://registry-1.docker.io", prefix="hub", hosts=("hub.example.org",))
MODELS = UpstreamConfig(
    name="models",
    url="http://10.0.0.7:5000",
    prefix="ml/models",
    hosts=("*.models.lan",),
    namespaces=("models.example", "10.1.1.1:80"),
)
SIX = UpstreamConfig(name="six", url="http://[2001:db8::1]:5000", hosts=("2001:db8:0:0:0:0:0:2",))
CHOICE = RegistryChoice({DEFAULT_UPSTREAM: CORP, "hub": HUB, "models": MODELS, "six": SIX})
PULL = "/v2/team/model/manifests/v1"


@pytest.mark.parametrize(
    ("target", "host", "upstream", "passed_on"),
    [
        (PULL, "proxy:5000", "", PULL),
        (f"{PULL}?ns=registry.corp.example:5443", "proxy:5000", "", PULL),
        (f"{PULL}?ns=docker.io", "proxy:5000", "hub", PULL),
        (f"{PULL}?ns=registry-1.docker.io", "proxy:5000", "hub", PULL),
        (f"{PULL}?a=1&ns=models.example&b=2", "proxy:5000", "models", f"{PULL}?a=1&b=2"),
        (f"{PULL}?ns=10.1.1.1%3A80", "proxy:5000", "models", PULL),
        (f"{PULL}?ns=MODELS.example", "proxy:5000", "models", PULL),
        (f"{PULL}?n=1&answers=2", "proxy:5000", "", f"{PULL}?n=1&answers=2"),
        (PULL, "hub.example.org", "hub", PULL),
        (PULL, "HUB.example.org.:5000", "hub", PULL),
        (PULL, "a.models.lan:80", "models", PULL),
        (PULL, "models.lan", "", PULL),
        (PULL, "[::1]:5000", "", PULL),
        (f"{PULL}?ns=docker.io", "a.models.lan", "hub", PULL),
        ("/v2/hub/team/model/manifests/v1", "proxy", "hub", PULL),
        ("/v2/hub/busybox/manifests/1", "proxy", "hub", "/v2/library/busybox/manifests/1"),
        ("/v2/hub/library/busybox/manifests/1", "proxy", "hub", "/v2/library/busybox/manifests/1"),
        ("/v2/busybox/blobs/uploads/?ns=docker.io", "proxy", "hub", "/v2/library/busybox/blobs/uploads/"),
        ("/v2/busybox/manifests/1", "proxy", "", "/v2/busybox/manifests/1"),
        ("/v2/hub/", "proxy", "hub", "/v2/"),
        ("/v2/hub", "proxy", "hub", "/v2"),
        ("/v2/hub?n=1", "proxy", "hub", "/v2?n=1"),
        ("/v2/hub/_catalog?n=2", "proxy", "hub", "/v2/_catalog?n=2"),
        ("/v2/hubs/model/manifests/v1", "proxy", "", "/v2/hubs/model/manifests/v1"),
        ("/v2/ml/models/a/b/tags/list", "proxy", "models", "/v2/a/b/tags/list"),
        ("/v2/ml/a/tags/list", "proxy", "", "/v2/ml/a/tags/list"),
        ("/v2/", "proxy", "", "/v2/"),
        ("/v2/?ns=docker.io", "proxy", "hub", "/v2/"),
        ("http://elsewhere/v2/hub/", "proxy", "hub", "/v2/"),
        (
            "/v2/ml/models/a/blobs/uploads/?mount=sha256:0&from=ml%2Fmodels%2Fb",
            "proxy",
            "models",
            "/v2/a/blobs/uploads/?mount=sha256:0&from=b",
        ),
        (
            "/v2/ml/models/a/blobs/uploads/?mount=sha256:0&from=other/b",
            "proxy",
            "models",
            "/v2/a/blobs/uploads/",
        ),
        ("/v2/a/blobs/uploads/?mount=sha256:0&from=hub/b&x=1", "proxy", "", "/v2/a/blobs/uploads/?x=1"),
        ("/v2/a/blobs/uploads/?mount=sha256:0&from=b", "proxy", "", "/v2/a/blobs/uploads/?mount=sha256:0&from=b"),
        (
            "/v2/hub/a/blobs/uploads/?mount=sha256:0&fr%6fm=hub/b",
            "proxy",
            "hub",
            "/v2/library/a/blobs/uploads/?mount=sha256:0&from=library/b",
        ),
        (
            "/v2/a/blobs/uploads/?mount=sha256:0&from=hub/b",
            "hub.example.org",
            "hub",
            "/v2/library/a/blobs/uploads/?mount=sha256:0&from=hub/b",
        ),
        (f"{PULL}?ns=docker.io.", "proxy", "hub", PULL),
        (f"{PULL}?n%73=docker.io", "proxy", "hub", PULL),
        (f"{PULL}?ns=index.docker.io", "proxy", "hub", PULL),
        (f"{PULL}?ns=registry-1.docker.io:443", "proxy", "hub", PULL),
        (f"{PULL}?ns=[2001:DB8:0:0::1]:5000", "proxy", "six", PULL),
        (f"{PULL}?ns=%5B2001%3Adb8%3A%3A1%5D%3A5000", "proxy", "six", PULL),
        (PULL, "[2001:db8:0::2]:443", "six", PULL),
        (PULL, "[2001:db8::2]", "six", PULL),
        (PULL, "2001:db8::2", "", PULL),
        (PULL, "hub.example.org@evil", "", PULL),
        (PULL, "hub.example.org:x", "", PULL),
        (PULL, "hub.example.org:", "hub", PULL),
        ("http://hub.example.org:80/v2/a/b/tags/list", "proxy", "hub", "/v2/a/b/tags/list"),
        ("http://proxy/v2/a/b/tags/list", "hub.example.org", "", "/v2/a/b/tags/list"),
        ("/twodfs/token?service=a", "hub.example.org", "hub", "/twodfs/token?service=a"),
        ("/twodfs/token/hub?service=a", "a.models.lan", "hub", "/twodfs/token?service=a"),
        ("/twodfs/token/corp?ns=docker.io", "hub.example.org", "", "/twodfs/token?ns=docker.io"),
        ("/twodfs/token/models/ml/models", "proxy", "models", "/twodfs/token"),
        ("/twodfs/token/models/ml", "proxy", "", "/twodfs/token/models/ml"),
        ("/twodfs/token/models/", "proxy", "", "/twodfs/token/models/"),
        ("/twodfs/token/evil", "proxy", "", "/twodfs/token/evil"),
        ("/twodfs/registry/hub/artifacts/1?a=b&ns=c", "proxy", "hub", "/artifacts/1?a=b&ns=c"),
        ("/twodfs/registry/hub/v2/a/tags/list", "proxy", "", "/twodfs/registry/hub/v2/a/tags/list"),
        ("/twodfs/registry/corp/artifacts/1", "proxy", "", "/twodfs/registry/corp/artifacts/1"),
    ],
)
def test_namespace_comes_before_host_and_host_before_prefix(
    target: str, host: str, upstream: str, passed_on: str
) -> None:
    chosen = CHOICE.choose(target, host)
    assert (chosen.upstream, chosen.target) == (upstream, passed_on)


@pytest.mark.parametrize("name", ["evil.example", "169.254.169.254", "docker.io.evil.example", "", "localhost:5000"])
def test_a_host_that_no_registry_stands_for_is_an_error_and_never_an_address(name: str) -> None:
    with pytest.raises(UnknownNamespaceError, match=r"no registry of this proxy is '.*'; upstream\.namespaces"):
        CHOICE.choose(f"{PULL}?ns={name}", "proxy")


def test_two_namespaces_are_an_error() -> None:
    with pytest.raises(GrammarError, match="two registries"):
        CHOICE.choose(f"{PULL}?ns=docker.io&ns=models.example", "proxy")
    assert CHOICE.choose(f"{PULL}?ns=docker.io&ns=docker.io", "proxy").upstream == "hub"


@pytest.mark.parametrize(
    ("chosen", "target", "shown"),
    [
        (ChosenRegistry("hub", "", prefix="hub"), "/v2/a/blobs/uploads/1?s=2", "/v2/hub/a/blobs/uploads/1?s=2"),
        (ChosenRegistry("hub", "", prefix="hub"), "/v2/", "/v2/hub/"),
        (ChosenRegistry("hub", "", prefix="hub"), "/v2", "/v2/hub"),
        (ChosenRegistry("hub", "", prefix="hub"), "/v2?n=1", "/v2/hub?n=1"),
        (ChosenRegistry("hub", "", prefix="hub"), "/v2x", "/v2x"),
        (ChosenRegistry("hub", "", "hub", prefix="h"), "/uploads/1?a=b", "/twodfs/registry/hub/uploads/1?a=b"),
        (ChosenRegistry("hub", "", "hub", prefix="h"), "list?n=1", "list?n=1"),
        (ChosenRegistry("hub", "", "hub", namespace="[::1]:50"), "list?ns=x&n=1", "list?n=1&ns=%5B%3A%3A1%5D%3A50"),
        (ChosenRegistry("hub", "", "hub", host="hub.lan"), "/v2/a/tags/list", "/v2/a/tags/list"),
        (ChosenRegistry("hub", "", namespace="docker.io"), "/v2/a/tags/list?n=1", "/v2/a/tags/list?n=1&ns=docker.io"),
        (ChosenRegistry("hub", "", namespace="docker.io"), "/v2/", "/v2/?ns=docker.io"),
        (ChosenRegistry("hub", ""), "/v2/a/tags/list", "/v2/a/tags/list"),
    ],
)
def test_addresses_for_the_client_say_which_registry_they_are_of(
    chosen: ChosenRegistry, target: str, shown: str
) -> None:
    assert chosen.as_ours(target) == shown


def test_a_namespace_that_two_registries_could_be_is_that_of_the_one_that_lists_it() -> None:
    mirror = UpstreamConfig(name="mirror", url="http://10.0.0.9", namespaces=("docker.io",))
    twice = {name: CORP.model_copy(update={"name": name}) for name in ("ours", "theirs")}
    choice = RegistryChoice({DEFAULT_UPSTREAM: HUB, "mirror": mirror, **twice})
    assert choice.choose(f"{PULL}?ns=docker.io", "").upstream == "mirror"
    for ambiguous in ("registry-1.docker.io", "registry.corp.example:5443"):
        with pytest.raises(UnknownNamespaceError):
            choice.choose(f"{PULL}?ns={ambiguous}", "")


@pytest.mark.parametrize(
    ("chosen", "path"),
    [
        (ChosenRegistry("", ""), "/twodfs/token"),
        (ChosenRegistry("", "", "corp"), "/twodfs/token/corp"),
        (ChosenRegistry("hub", "", "hub", namespace="docker.io"), "/twodfs/token/hub"),
        (ChosenRegistry("models", "", "models", prefix="ml/models"), "/twodfs/token/models/ml/models"),
    ],
)
def test_the_way_to_tokens_says_whose_they_are_and_how_the_client_calls_repositories(
    chosen: ChosenRegistry, path: str
) -> None:
    assert chosen.token_path == path
    if chosen.name:
        again = CHOICE.choose(f"{path}?a=b", "other")
        assert (again.upstream, again.target, again.prefix) == (chosen.upstream, "/twodfs/token?a=b", chosen.prefix)


def test_scopes_have_the_prefix_for_clients_that_use_it() -> None:
    chosen = ChosenRegistry("hub", "", "hub", prefix="hub")
    theirs = "repository:a/b:pull,push registry:catalog:* repository:hub/c:pull repository(plugin):d:pull"
    ours = "repository:hub/a/b:pull,push registry:catalog:* repository:hub/hub/c:pull repository(plugin):d:pull"
    assert chosen.scope_as_ours(theirs) == ours
    assert chosen.scope_as_theirs(ours) == theirs
    assert ChosenRegistry("hub", "", "hub").scope_as_ours(theirs) == theirs


@pytest.mark.parametrize("target", [f"{PULL}?ns=anything", "/v2/hub/a/manifests/1", "nonsense"])
def test_a_single_registry_gets_every_request_as_it_is(target: str) -> None:
    single = RegistryChoice({DEFAULT_UPSTREAM: CORP})
    assert single.choose(target, "hub.example.org") == ChosenRegistry(DEFAULT_UPSTREAM, target)
