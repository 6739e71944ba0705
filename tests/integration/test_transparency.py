"""What is not a partition passes through untouched: the same conversation, directly and through the proxy."""

import pytest

from tests.lab.conversation import Conversation, Exchange, is_explained, whole_api
from tests.lab.proxy import Proxy
from tests.lab.registry import Registry


@pytest.fixture(scope="module")
def conversations(
    straight_conversation: list[Exchange], tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Exchange], list[Exchange]]:
    """The whole API spoken with two fresh registries, one of them behind the proxy."""
    with (
        Registry.start(tmp_path_factory.mktemp("behind")) as behind,
        Proxy.start(tmp_path_factory.mktemp("proxy"), behind.url) as proxy,
    ):
        through = Conversation(proxy.address)
        whole_api(through)
    return straight_conversation, through.exchanges


def test_the_tags_that_are_explained_are_a_few(
    conversations: tuple[list[Exchange], list[Exchange]],
) -> None:
    explained = {
        direct.request.split(" ")[1].rpartition("/")[2]
        for direct, proxied in zip(*conversations, strict=True)
        if direct != proxied and is_explained(direct, proxied)
    }
    numbers = "oci--00000000000000000.0.0.99999999999999999999999999"
    long = "oci" + "--0.0.0.0" * 13
    assert explained == {"oci--9.9.9.9", "oci--5.5.1.1", numbers, long, "oci+0.0.0.1", "oci%2B0.0.0.1"}


def test_every_answer_through_the_proxy_is_the_registrys_own(
    conversations: tuple[list[Exchange], list[Exchange]],
) -> None:
    straight, through = conversations
    differing = [
        f"{direct.request}\n  direct:  {direct}\n  through: {proxied}"
        for direct, proxied in zip(straight, through, strict=True)
        if direct != proxied and not is_explained(direct, proxied)
    ]
    assert not differing, f"{len(differing)} of {len(straight)} differ:\n" + "\n".join(differing[:10])


def test_the_conversation_covers_the_api(conversations: tuple[list[Exchange], list[Exchange]]) -> None:
    """The comparison above is worth what it compares: it has to see every kind of answer."""
    straight, _ = conversations
    assert len(straight) > 300
    assert {exchange.status for exchange in straight} >= {200, 201, 202, 204, 206, 304, 400, 404, 405, 416}
