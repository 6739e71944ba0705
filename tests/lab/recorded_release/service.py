"""Scenes of a proxy in front of a registry and a Redis, and all that can be seen of it from outside."""

import base64
import hashlib
import json
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
from prometheus_client.parser import text_string_to_metric_families

from tests.lab.documents import DOCKER as DOCKER_TYPES
from tests.lab.documents import OCI
from tests.lab.exposition import OPENMETRICS, fetch
from tests.lab.proxy import Proxy
from tests.lab.recorded_release.content import ATTACHED, DOCKER, MODEL, PLAIN, Release, keys, push
from tests.lab.redis import Redis
from tests.lab.registry import Registry, Request
from tests.lab.registry_client import RegistryClient, basic
from tests.lab.signing import BUNDLE_TYPE, referrer
from tests.lab.waiting import wait_until

Json = dict[str, Any]
SECRET = "a secret of sixteen characters and more"
SEALED = {"TWODFS_PROXY_CACHE_SECRET": SECRET}
LOGIN = ("ada", "lovelace")
_ALL = f"{OCI.index}, {OCI.manifest}, {DOCKER_TYPES.index}, {DOCKER_TYPES.manifest}"
_IMAGES_ALONE = f"{OCI.manifest}, {DOCKER_TYPES.manifest}"
_AGENT = "previous-release/1"
# What differs each time.
_CHANGING_HEADERS = {"date", "docker-upload-uuid"}
_CHANGING_FIELDS = {"timestamp", "milliseconds"}
_UPLOAD = re.compile(r"uploads/[0-9a-f-]{36}([?]_state=[^&\s\"]+)?")


@dataclass(frozen=True, slots=True)
class Scene:
    """Peers of one scene."""

    registry: Registry
    redis: Redis
    proxy: Proxy

    def ask(self, asked: Json) -> Json:
        """Return the answer on a connection of its own."""
        with RegistryClient(self.proxy.url) as client:
            return self.ask_through(client, asked)

    def ask_through(self, client: RegistryClient, asked: Json) -> Json:
        """Return the answer, without all that differs each time."""
        headers = {"Accept": asked.get("accept", _ALL), "User-Agent": _AGENT, "X-Request-Id": name_of(asked)}
        headers |= asked.get("headers", {})
        body = base64.b64decode(asked["body"]) if "body" in asked else None
        answer = client.request(asked["method"], asked["target"], headers=headers, body=body)
        seen: Json = {
            "status": answer.status,
            "headers": {
                name: self._stable(value)
                for name, value in sorted(answer.headers.items())
                if name not in _CHANGING_HEADERS
            },
        }
        if answer.status < 400:
            return {**seen, "digest": f"sha256:{hashlib.sha256(answer.body).hexdigest()}"}
        # Sentences may be written anew; codes are what clients go by.
        del seen["headers"]["content-length"]
        is_error_document = answer.headers.get("content-type", "").startswith("application/json") and answer.body
        return {
            **seen,
            "codes": [one["code"] for one in json.loads(answer.body)["errors"]] if is_error_document else [],
        }

    def _stable(self, text: str) -> str:
        text = text.replace(self.registry.address, "REGISTRY").replace(self.proxy.address, "PROXY")
        return _UPLOAD.sub("uploads/UPLOAD", text)


def question(method: str, target: str, **more: Any) -> Json:
    """Return a question; it may have `accept`, `headers`, `body` (base64), and `after` what it stands."""
    return {"method": method, "target": target, **more}


def name_of(asked: Json) -> str:
    """Return the request's id, by which its line in the log is found."""
    return "q-" + hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def scene(directory: Path, release: Release, content: Json, variables: dict[str, str], dumped: Json) -> Iterator[Scene]:
    """Start a registry with the content, a Redis with the keys and a proxy of the release."""
    for name in ("registry", "redis", "proxy"):
        (directory / name).mkdir(parents=True)
    pair = keys(directory, "signing")
    with Registry.start(directory / "registry") as registry, Redis.start(directory / "redis") as redis:
        push(content, registry)
        restore(redis, dumped)
        settings = {
            "TWODFS_PROXY_CACHE_REDIS_URL": redis.url,
            "TWODFS_PROXY_CACHE_REDIS_TIMEOUT": "2",
            "TWODFS_PROXY_SIGNING_KEY": str(pair.private),
            "TWODFS_PROXY_SIGNING_REGISTRY": "registry.example.org",
            **variables,
            **release.environment(),
        }
        with Proxy.start(directory / "proxy", registry.url, environment=settings) as proxy:
            yield Scene(registry, redis, proxy)


def discover(played: Scene) -> Iterator[Json]:
    """Yield all that can be asked of the content, in an order in which each answer leads to the next questions."""
    yield question("GET", "/v2/")
    for repository, tags in (
        (MODEL, ("v1--1.1.1.2--0.0.0.0", "v1--gpu--0.0.0.0", "v1--base")),
        (DOCKER, ("v1--0.2.0.2--1.2.1.2",)),
    ):
        for tag in tags:
            yield question("HEAD", f"/v2/{repository}/manifests/{tag}")
            yield from _walk(played, repository, tag)
        yield question("GET", f"/v2/{repository}/manifests/v1--0.0.1.1", accept=_IMAGES_ALONE)
        yield question("GET", f"/v2/{repository}/manifests/v1--0.0.1.1", accept="*/*")
    for method in ("GET", "HEAD"):
        for target in (
            f"/v2/{MODEL}/manifests/v1",
            f"/v2/{MODEL}/manifests/v1--7.7.8.8",
            f"/v2/{MODEL}/manifests/v1--1.1.0.0",
            f"/v2/{MODEL}/manifests/v1--0.0.1",
            f"/v2/{MODEL}/manifests/v1--unknown",
            f"/v2/{MODEL}/manifests/none--0.0.0.0",
            f"/v2/{PLAIN}/manifests/v1",
            f"/v2/{PLAIN}/manifests/v1--0.0.0.0",
            f"/v2/{PLAIN}/manifests/sha256:{'0' * 64}",
            f"/v2/{PLAIN}/blobs/sha256:{'0' * 64}",
            f"/v2/{PLAIN}/manifests/{'x' * 129}",
            f"/v2/{MODEL}/tags/list",
            "/v2/_catalog",
            "/v2/UPPER/manifests/v1",
            "/elsewhere",
        ):
            yield question(method, target)
    yield question("OPTIONS", f"/v2/{MODEL}/manifests/v1")
    put = {"headers": {"Content-Type": OCI.manifest}, "body": "e30="}
    yield question("PUT", f"/v2/{MODEL}/manifests/v1--0.0.0.0", **put)
    yield question("POST", f"/v2/{PLAIN}/blobs/uploads/", headers={"Content-Length": "0"})
    yield from _attach(played)


def _walk(played: Scene, repository: str, reference: str) -> Iterator[Json]:
    """Yield questions for a partition, for each of its documents by digest, and for all that signs them."""
    yield question("GET", f"/v2/{repository}/manifests/{reference}")
    with RegistryClient(played.proxy.url) as client:
        top = client.get_manifest(repository, reference)
        digest = top.headers["docker-content-digest"]
        entries = json.loads(top.body).get("manifests")
        images = [one["digest"] for one in entries or [{"digest": digest}]]
        signed = dict.fromkeys((digest, *images))
        targets = [f"manifests/{one}" for one in signed]
        for one in images:
            about = json.loads(client.get_manifest(repository, one).body)
            targets += [f"blobs/{part['digest']}" for part in (about["config"], about["layers"][-1])]
        for tag in (one.replace(":", "-") for one in signed):
            targets += [f"manifests/{tag}.sig", f"manifests/{tag}"]
        for one in signed:
            targets += [f"referrers/{one}", f"referrers/{one}?artifactType={BUNDLE_TYPE}"]
            listed = json.loads(client.request("GET", f"/v2/{repository}/referrers/{one}").body)["manifests"]
            for entry in listed:
                about = json.loads(client.get_manifest(repository, entry["digest"]).body)
                targets.append(f"manifests/{entry['digest']}")
                targets += [f"blobs/{part['digest']}" for part in (about["config"], *about["layers"])]
    for target in dict.fromkeys(targets):
        yield question("GET", f"/v2/{repository}/{target}")
    yield question("HEAD", f"/v2/{repository}/manifests/{digest}")


def _attach(played: Scene) -> Iterator[Json]:
    """Yield questions that push a manifest which refers to a partition, and take it away again."""
    with RegistryClient(played.proxy.url) as client:
        top = client.get_manifest(MODEL, "v1--edge")
    subject = {"mediaType": OCI.index, "digest": top.headers["docker-content-digest"], "size": len(top.body)}
    manifest, _ = referrer(subject, *ATTACHED)
    pushed = {"headers": {"Content-Type": manifest.media_type}, "body": base64.b64encode(manifest.content).decode()}
    yield question("PUT", f"/v2/{MODEL}/manifests/{manifest.digest}", **pushed)
    yield question("GET", f"/v2/{MODEL}/referrers/{subject['digest']}", after="push")
    yield question("DELETE", f"/v2/{MODEL}/manifests/{manifest.digest}")
    yield question("GET", f"/v2/{MODEL}/referrers/{subject['digest']}?artifactType=text/sbom", after="delete")


def play(  # everything that a release shows while it is asked
    directory: Path,
    release: Release,
    content: Json,
    asked: Iterable[Json],
    variables: dict[str, str] | None = None,
    dumped: Json | None = None,
) -> Json:
    """Ask a new proxy all of `asked`, in front of a Redis that holds `dumped`; return all that could be seen."""
    with scene(directory, release, content, variables or {}, dumped or {}) as played:
        before = len(played.registry.requests())
        with RegistryClient(played.proxy.url) as client:
            answers = [played.ask_through(client, one) for one in asked]
        seen = {
            "answers": answers,
            "upstream": sorted(_stable_request(one) for one in played.registry.requests()[before:]),
            "redis": dump(played.redis),
            "metrics": metrics(played.proxy),
            "counted": counted(played.proxy),
            "types": content_types(played.proxy),
        }
        seen["status"] = played.proxy.terminate()
        lines, others = events(played.proxy)
        return {**seen, "lines": lines, "events": others}


def fail(directory: Path, release: Release, content: Json) -> Json:
    """Let two workers lose Redis and the registry, reload, and end; return what they logged and counted."""
    target = f"/v2/{MODEL}/manifests/v1--edge"
    with scene(directory, release, content, {"TWODFS_PROXY_WORKERS": "2"}, {}) as played:
        statuses = [played.ask(question("GET", target))["status"]]
        played.redis.kill()
        _heard(played, "redis does not answer; going on without it")
        played.redis.launch()
        _heard(played, "redis answers again")
        played.registry.stop()
        statuses.append(played.ask(question("GET", target))["status"])
        _heard(played, "registry down")
        played.registry.launch()
        _heard(played, "registry up", target)
        os.kill(played.proxy.pid, signal.SIGHUP)
        _heard(played, "reloaded")
        statuses.append(played.ask(question("GET", target))["status"])
        shown = metrics(played.proxy)
        status = played.proxy.terminate()
        return {"answers": statuses, "metrics": shown, "status": status, "events": events(played.proxy)[1]}


def guard(directory: Path, release: Release, content: Json) -> Json:
    """Let a proxy with clients of its own be asked with a right, a wrong and no password."""
    directory.mkdir()
    passwords = directory / "htpasswd"
    hashed = bcrypt.hashpw(LOGIN[1].encode(), bcrypt.gensalt(4)).decode()
    passwords.write_text(f"{LOGIN[0]}:{hashed}\n")
    variables = {
        "TWODFS_PROXY_UPSTREAM_CREDENTIALS_KIND": "static",
        "TWODFS_PROXY_UPSTREAM_CREDENTIALS_USERNAME": "servant",
        "TWODFS_PROXY_UPSTREAM_CREDENTIALS_PASSWORD": "of the proxy",
        "TWODFS_PROXY_AUTH_CLIENTS_HTPASSWD": str(passwords),
        "TWODFS_PROXY_AUTH_CLIENTS_RULES": json.dumps([{"users": ["ada"], "repositories": [MODEL]}]),
        "TWODFS_PROXY_SIGNING_REQUIRE_SOURCE_SIGNATURE": "true",
        "TWODFS_PROXY_SIGNING_SOURCE_KEYS": str(keys(directory, "builders").public),
    }
    logins: Iterable[dict[str, str]] = ({}, *({"Authorization": basic(LOGIN[0], word)} for word in ("no", LOGIN[1])))
    asked = [
        question(method, target, headers=login)
        for login in logins
        for method, target in (
            ("GET", "/v2/"),
            ("GET", f"/v2/{MODEL}/manifests/v1--edge"),
            ("GET", f"/v2/{DOCKER}/manifests/v1--all"),
            ("POST", f"/v2/{MODEL}/blobs/uploads/"),
        )
    ]
    return play(directory / "scene", release, content, asked, variables)


def _heard(played: Scene, event: str, asking: str = "") -> None:
    """Wait until the event was logged, and ask until then, where it takes a request to find it out."""

    def is_logged() -> bool:
        if asking:
            played.ask(question("GET", asking))
        return any(one["event"] == event for one in played.proxy.log_events())

    wait_until(is_logged, event)


def dump(redis: Redis) -> Json:
    """Return every key of the Redis with its value and the seconds it has to live."""
    with redis.client() as client:
        found = {key.decode(): (client.get(key), client.ttl(key)) for key in client.scan_iter(count=1000)}
    return {
        key: {"value": base64.b64encode(value).decode(), "seconds": seconds}
        for key, (value, seconds) in sorted(found.items())
        if isinstance(value, bytes)
    }


def restore(redis: Redis, dumped: Json) -> None:
    """Put the keys where a release put them."""
    with redis.client() as client:
        for key, one in dumped.items():
            client.set(key, base64.b64decode(one["value"]), ex=one["seconds"])


def events(proxy: Proxy) -> tuple[Json, Json]:
    """Return the lines of requests by their id, and of all other events the fields."""
    lines: Json = {}
    others: Json = {}
    for line in proxy.log_events():
        if line["event"] == "request":
            name = line.get("request_id", "")
            lines[name] = {
                key: None if key in _CHANGING_FIELDS or (key == "bytes" and line["status"] >= 400) else value
                for key, value in line.items()
            }
        else:
            about = others.setdefault(line["event"], {"level": line["level"], "fields": []})
            about["fields"] = sorted({*about["fields"], *line})
    return lines, others


def is_pinned(asked: Json) -> bool:
    """Say whether a question is one for a digest, or for what is kept by a digest, before anything is pushed."""
    return asked["method"] == "GET" and "sha256" in asked["target"] and "after" not in asked


def content_of(answer: Json) -> list[Any]:
    """Return what an answer says of content, whether the proxy gives it from memory or passes it on."""
    headers = ("content-type", "content-length", "docker-content-digest")
    return [answer["status"], answer.get("digest"), *(answer["headers"].get(name) for name in headers)]


def without(dumped: Json, *kinds: str) -> Json:
    """Return a dump without the keys of some kinds, and without the canary of the replica that was."""
    return {key: one for key, one in dumped.items() if key.split(":")[1] not in {*kinds, "canary"}}


def metrics(proxy: Proxy) -> Json:
    """Return every family with its type, its help and the labels of its series; numbers of requests, too."""
    families: Json = {}
    for family in text_string_to_metric_families(fetch(proxy.admin_url)[0]):
        series = sorted({json.dumps([sample.name, _labels(sample.labels)]) for sample in family.samples})
        families[family.name] = {
            "type": family.type,
            "help": family.documentation,
            "series": [json.loads(one) for one in series],
        }
    return families


def counted(proxy: Proxy) -> Json:
    """Return how many requests of each kind were answered, and how."""
    return {
        json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(fetch(proxy.admin_url)[0])
        for sample in family.samples
        if sample.name == "twodfs_proxy_requests_total"
    }


def content_types(proxy: Proxy) -> list[str]:
    return [fetch(proxy.admin_url)[1], fetch(proxy.admin_url, OPENMETRICS)[1]]


def _labels(labels: dict[str, str]) -> Json:
    """Leave out what a machine or a release has of its own."""
    return {name: "" if name in {"python", "version"} else value for name, value in sorted(labels.items())}


def _stable_request(one: Request) -> str:
    return _UPLOAD.sub("uploads/UPLOAD", f"{one.method} {one.target} {one.status}")
