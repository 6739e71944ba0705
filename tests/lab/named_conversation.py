"""The long conversation, with a registry that a proxy has to be told by a prefix or by `ns`."""

from collections.abc import Iterator, Mapping
from http.client import HTTPResponse

from tests.lab.conversation import Conversation


class NamedConversation(Conversation):
    """Says which registry is meant in each request, and records answers as if that had not been necessary.

    An address in an answer that does not say it fails the test: whoever follows it would come to another registry.
    """

    def __init__(self, address: str, *, prefix: str = "", namespace: str = "") -> None:
        super().__init__(address)
        self._prefix = prefix
        self._namespace = namespace

    def _as_asked(self, target: str) -> str:
        if self._prefix:
            if target.startswith("/v2") and not target.startswith(f"/v2/{self._prefix}/"):
                target = f"/v2/{self._prefix}{target.removeprefix('/v2')}"
            return target.replace("from=", f"from={self._prefix}/")
        if f"ns={self._namespace}" in target:
            return target
        return f"{target}{'&' if '?' in target else '?'}ns={self._namespace}"

    def _anonymous(self, text: str) -> str:
        text = super()._anonymous(text)
        if self._prefix:
            return text.replace(f"/v2/{self._prefix}", "/v2").replace(f"from={self._prefix}/", "from=")
        return text.replace(f"&ns={self._namespace}", "").replace(f"?ns={self._namespace}", "")

    def say(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> HTTPResponse:
        response = super().say(method, target, headers, body)
        mark = f"/v2/{self._prefix}/" if self._prefix else f"ns={self._namespace}"
        for name in ("Location", "Link"):
            address = response.headers.get(name, mark)
            assert mark in address, f"{method} {target}: {name}: {address}"
        return response
