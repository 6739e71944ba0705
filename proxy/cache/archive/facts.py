"""``2dfs-edge.json``: the registry's last answers about the images of an archive, and what was left out of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.config.values import UPSTREAM_NAME
from proxy.edge.offline.answers import AnswerRow, LastAnswer
from twodfs.errors import BuildError, FormatError, within
from twodfs.oci.digest import Digest
from twodfs.oci.documents import Json, check_size, digest_in, expect, list_in, parse_object
from twodfs.oci.reference import REPOSITORY, TAG

FACTS: Final = "2dfs-edge.json"
MOST_FACTS: Final = 64 * 2**20
_VERSION: Final = 1
_PLACE: Final = re.compile(rf"(?:{UPSTREAM_NAME}!)?{REPOSITORY.pattern}")
_TAG: Final = re.compile(rf"manifests/{TAG.pattern}")
_REFERRERS: Final = re.compile(r"referrers/sha256:[0-9a-f]{64}(\?artifactType=[A-Za-z0-9.+%_/-]{1,200})?")
_ACCEPT: Final = re.compile(r"[a-z]{0,8}")
_STATUSES: Final = (200, 404)
_MOST_HEADERS: Final = 16
_MOST_BODY: Final = 4096
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_VALUE: Final = re.compile(r"[\t -~]{0,1024}")


@dataclass(frozen=True, slots=True, order=True)
class CarriedAnswer:
    """An answer of the registry to a question that can have another answer later.

    Attributes:
        repository: where it was asked, as ``Repository`` is written.
        resource: ``manifests/TAG`` or ``referrers/DIGEST``.
        accept: which kinds of documents were wanted, as ``proxy.edge.offline.questions`` writes it.
        status: of HTTP.
        digest: of the document that was given; empty for none.
        media_type: of that document.
        headers: those that mean the same to any client.
        body: of an answer without a document.
        asked_at: when, in seconds since 1970.
    """

    repository: str
    resource: str
    accept: str
    status: int
    digest: str
    media_type: str
    headers: tuple[tuple[str, str], ...]
    body: str
    asked_at: float

    @classmethod
    def of(cls, row: AnswerRow) -> CarriedAnswer:
        """Return the answer of a node."""
        one = row.answer
        headers = tuple((name, value) for name, value in one.headers)
        body = one.body.decode("utf-8", "replace")
        return cls(
            row.repository,
            row.resource,
            row.accept,
            one.status,
            one.digest or "",
            one.media_type,
            headers,
            body,
            one.asked_at,
        )

    @property
    def row(self) -> AnswerRow:
        """The answer as a node keeps it."""
        digest = Digest(self.digest) if self.digest else None
        answer = LastAnswer(
            self.status, digest, self.media_type, self.headers, self.body.encode(), asked_at=self.asked_at
        )
        return AnswerRow(self.repository, self.resource, self.accept, answer)

    @property
    def tag(self) -> str:
        """The tag that was asked for; empty for a list of referrers."""
        kind, _, name = self.resource.partition("/")
        return name if kind == "manifests" else ""

    def to_dict(self) -> Json:
        """Return it as JSON."""
        return {
            "repository": self.repository,
            "resource": self.resource,
            "accept": self.accept,
            "status": self.status,
            "digest": self.digest,
            "mediaType": self.media_type,
            "headers": [list(pair) for pair in self.headers],
            "body": self.body,
            "askedAt": self.asked_at,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CarriedAnswer:
        """Return the answer in ``raw``.

        Raises:
            FormatError: it is none that a node would keep.
        """
        digest = expect(raw.get("digest"), str, "digest")
        if digest:
            digest_in(digest, "digest")
        status = expect(raw.get("status"), int, "status")
        if status not in _STATUSES or (status == _STATUSES[0] and not digest):
            raise FormatError(f"an answer of {status} is not carried", "status")
        asked_at = raw.get("askedAt")
        if isinstance(asked_at, bool) or not isinstance(asked_at, int | float) or asked_at < 0:
            raise FormatError("expected seconds since 1970", "askedAt")
        resource = expect(raw.get("resource"), str, "resource")
        if not (_TAG.fullmatch(resource) or _REFERRERS.fullmatch(resource)):
            raise FormatError(f"{resource[:140]!r} is neither manifests/TAG nor referrers/DIGEST", "resource")
        return cls(
            _matching(raw, "repository", _PLACE),
            resource,
            _matching(raw, "accept", _ACCEPT),
            status,
            digest,
            _matching(raw, "mediaType", _VALUE),
            _headers(list_in(raw, "headers")),
            _body(raw),
            float(asked_at),
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """What an archive says beside its images.

    Attributes:
        answers: of the registry.
        left_out: content that the other side has, with the bytes of each.
    """

    answers: tuple[CarriedAnswer, ...] = ()
    left_out: Mapping[Digest, int] | None = None

    def encode(self) -> bytes:
        """Return it as JSON; the same facts give the same bytes."""
        left_out = [{"digest": digest, "size": size} for digest, size in sorted((self.left_out or {}).items())]
        answers = [one.to_dict() for one in sorted(self.answers)]
        return orjson.dumps({"version": _VERSION, "answers": answers, "leftOut": left_out})

    @classmethod
    def decode(cls, body: bytes, place: str) -> Facts:
        """Return the facts in ``body``.

        Raises:
            BuildError: they cannot be used; the message names the ``place``.
        """
        try:
            raw = parse_object(body)
            version = expect(raw.get("version"), int, "version")
            if version != _VERSION:
                raise BuildError(f"{place}: {FACTS} is of version {version}, and this release knows {_VERSION}")
            answers = []
            for at, one in enumerate(list_in(raw, "answers")):
                with within(f"answers[{at}]"):
                    answers.append(CarriedAnswer.from_dict(expect(one, dict, "")))
            left_out = {}
            for at, one in enumerate(list_in(raw, "leftOut")):
                with within(f"leftOut[{at}]"):
                    size = check_size(expect(expect(one, dict, "").get("size"), int, "size"), "size")
                    left_out[digest_in(one.get("digest"), "digest")] = size
        except FormatError as error:
            raise BuildError(f"{place}: {FACTS}: {error}") from None
        return cls(tuple(answers), left_out)


def _matching(raw: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    text = expect(raw.get(key), str, key)
    if not pattern.fullmatch(text):
        raise FormatError(f"{text[:140]!r} is not allowed", key)
    return text


def _headers(listed: list[Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for at, pair in enumerate(listed[: _MOST_HEADERS + 1]):
        with within(f"headers[{at}]"):
            parts = [expect(one, str, "") for one in expect(pair, list, "")]
            if at >= _MOST_HEADERS or len(parts) != len(("name", "value")):
                raise FormatError("expected a name and a value, of few headers")
            name, value = parts
            if not (_HEADER.fullmatch(name) and _VALUE.fullmatch(value)):
                raise FormatError("it is no header")
            found.append((name, value))
    return tuple(found)


def _body(raw: Mapping[str, Any]) -> str:
    body = expect(raw.get("body"), str, "body")
    if len(body) > _MOST_BODY:
        raise FormatError(f"expected {_MOST_BODY} characters at most", "body")
    return body
