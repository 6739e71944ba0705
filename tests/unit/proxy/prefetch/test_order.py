from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.cache.images.reference import CachedName
from proxy.prefetch.order import Order, OrderError, Wanted
from proxy.prefetch.site import read_site
from proxy.prefetch.terms import Window
from twodfs.credentials.credentials import Credentials
from twodfs.errors import UsageError
from twodfs.oci.platforms import Platform

FULL = Order(
    (
        Wanted(CachedName("library/model", "v1--0.0.1.2"), pin=True, platforms=(Platform("linux", "arm64"),)),
        Wanted(CachedName("base", "v3")),
    ),
    rate=1_250_000.0,
    window=Window.parse("22:00-06:00"),
    prune_pins=True,
    detach=True,
    credentials=Credentials("alice", "wonder land", identity_token="refresh"),
    others={"hub": Credentials("bob", "wonder bar")},
)


@pytest.mark.parametrize("order", [FULL, Order(FULL.images)])
def test_an_order_survives_the_way_to_the_node(order: Order) -> None:
    assert Order.from_dict(orjson.loads(orjson.dumps(order.to_dict()))) == order


def test_secrets_are_not_shown() -> None:
    assert "wonder" not in repr(FULL)
    assert "refresh" not in repr(FULL)


def test_credentials_are_for_their_own_registry() -> None:
    assert FULL.credentials_for("") == FULL.credentials
    assert FULL.credentials_for("hub") == Credentials("bob", "wonder bar")
    assert FULL.credentials_for("quay") is None
    assert Order(FULL.images, others=FULL.others).credentials_for("") is None


IMAGE: dict[str, Any] = {"reference": "a/b:v1"}


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ([], "the whole is no table"),
        ({}, "images is missing"),
        ({"images": []}, "images has 0 entries; expected 1 to 10000"),
        ({"images": [3]}, "images[0] is no table"),
        ({"images": [{}]}, "images[0].reference is missing"),
        ({"images": [{"reference": "a/b"}]}, "images[0].reference: 'a/b' has no tag; write it out, as a/b:v1"),
        ({"images": [{"reference": 7}]}, "images[0].reference is 7; expected a text"),
        ({"images": [IMAGE, IMAGE]}, "images[1].reference: a/b:v1 stands there twice"),
        ({"images": [{**IMAGE, "pin": 1}]}, "images[0].pin is 1; expected true or false"),
        ({"images": [{**IMAGE, "platforms": ["linux"]}]}, "images[0].platforms: 'linux' is no platform"),
        ({"images": [IMAGE], "rate": "fast"}, "rate: 'fast' is no rate"),
        ({"images": [IMAGE], "window": "now"}, "window: 'now' is no window"),
        ({"images": [IMAGE], "windows": "now"}, "windows is not known, did you mean window?"),
        ({"images": [IMAGE], "credentials": {"user": "x"}}, "credentials.user is not known"),
        ({"images": [IMAGE], "upstreams": {"hub": "x"}}, "upstreams.hub is no table"),
        ({"images": [IMAGE], "upstreams": {"hub": {"user": "x"}}}, "upstreams.hub.user is not known"),
    ],
)
def test_an_order_that_is_none_says_where(raw: Any, problem: str) -> None:
    with pytest.raises(OrderError) as caught:
        Order.from_dict(raw)
    assert problem in str(caught.value)


def test_a_file_lists_what_a_site_needs(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'rate = "10Mbit"\nwindow = "22:00-06:00"\n[[image]]\nreference = "127.0.0.1:5000/library/model:v1+0.0.1.2"\n'
        'pin = true\nplatforms = ["linux/arm64"]\n[[image]]\nreference = "base:v3"\n'
    )
    order = read_site(file)
    assert (order.images, order.rate, order.window) == (FULL.images, FULL.rate, FULL.window)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[image]", "is not TOML"),
        ('[[image]]\nreference = "a:b"\nrate = "1MB"', "image[0].rate is not known"),
        ('[[images]]\nreference = "a:b"', "images is not known, did you mean image?"),
        ('[image]\nreference = "a:b"', "image is {'reference': 'a:b'}; expected a list"),
        ("", "image is missing"),
    ],
)
def test_mistakes_in_a_file_name_it_and_the_key(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "site.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_site(tmp_path / "site.toml")
    assert problem in str(caught.value)
    assert "site.toml" in str(caught.value)
    with pytest.raises(OrderError, match="cannot read"):
        read_site(tmp_path / "none.toml")
