"""Which of several registries a request is for."""

import pytest

from proxy.config import UpstreamConfig
from proxy.repository import DEFAULT_UPSTREAM
from proxy.requests.choice import ChosenRegistry, RegistryChoice, UnknownNamespaceError
from proxy.requests.grammar import GrammarError

CORP = UpstreamConfig(url="https://registry.corp.example:5443")
HUB = UpstreamConfig(url="https://registry-1.docker.io", prefix="hub", hosts=("hub.example.org",))
MODELS = UpstreamConfig(
    url="http://10.0.0.7:5000",
    prefix="ml/models",
    hosts=("*.models.lan",),
    namespaces=("models.example", "10.1.1.1:80"),
)
CHOICE = RegistryChoice({DEFAULT_UPSTREAM: CORP, "hub": HUB, "models": MODELS})
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
        ("/v2/hub", "proxy", "hub", "/v2/"),
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
            "/v2/a/blobs/uploads/?mount=sha256:0",
        ),
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
        (ChosenRegistry("hub", "", prefix="hub"), "/twodfs/token", "/twodfs/token"),
        (ChosenRegistry("hub", "", namespace="docker.io"), "/v2/a/tags/list?n=1", "/v2/a/tags/list?n=1&ns=docker.io"),
        (ChosenRegistry("hub", "", namespace="docker.io"), "/v2/", "/v2/?ns=docker.io"),
        (ChosenRegistry("hub", ""), "/v2/a/tags/list", "/v2/a/tags/list"),
    ],
)
def test_addresses_for_the_client_say_which_registry_they_are_of(
    chosen: ChosenRegistry, target: str, shown: str
) -> None:
    assert chosen.as_ours(target) == shown


@pytest.mark.parametrize("target", [f"{PULL}?ns=anything", "/v2/hub/a/manifests/1", "nonsense"])
def test_a_single_registry_gets_every_request_as_it_is(target: str) -> None:
    single = RegistryChoice({DEFAULT_UPSTREAM: CORP})
    assert single.choose(target, "hub.example.org") == ChosenRegistry(DEFAULT_UPSTREAM, target)
