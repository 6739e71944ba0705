"""A registry with the referrers API: a stock registry, and in front of it what keeps lists of referrers.

`python -m tests.lab.referring_registry PORT UPSTREAM` is what `ReferringRegistry` starts. Lists are in
memory, by the order of pushes; `PAGE` entries to a page, with `Link`. It filters, and says so. Who may read a
repository's tags may read its lists: the stock registry decides.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.lab.process import Launch, Server, answers_http, free_port
from tests.lab.programs import environment

PAGE = 2
_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFESTS = re.compile(r"/v2/(?P<repository>.+)/manifests/(?P<reference>[^/]+)")
_REFERRERS = re.compile(r"/v2/(?P<repository>.+)/referrers/(?P<digest>[^/]+)")
_HOP = frozenset({"transfer-encoding", "connection", "keep-alive", "content-length"})
_REPOSITORY = Path(__file__).parents[2]


class ReferringRegistry(Server):
    """`with ReferringRegistry.start(directory, registry.url) as registry: ...`."""

    def __init__(self, launch: Launch, port: int) -> None:
        super().__init__(launch)
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"

    @classmethod
    def start(cls, directory: Path, upstream: str) -> Self:
        port = free_port()
        launch = Launch(
            argv=(sys.executable, "-m", __name__, str(port), upstream),
            log=directory / "referring-registry.log",
            ready=answers_http(port, "/ready"),
            environment=environment(),
            directory=_REPOSITORY,
        )
        registry = cls(launch, port)
        registry.launch()
        return registry


class _Lists:
    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self._upstream = upstream
        self._session = session
        self._lists: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/ready":
            return web.Response()
        if found := _REFERRERS.fullmatch(request.path):
            return await self._list(request, found["repository"], found["digest"])
        body = await request.read()
        response = await self._forward(request, request.raw_path, body)
        if found := _MANIFESTS.fullmatch(request.path):
            if request.method == "PUT" and response.status == 201:
                subject = self._enter(found["repository"], body, request.content_type)
                response.headers.update({"OCI-Subject": subject} if subject else {})
            elif request.method == "DELETE" and response.status == 202:
                for listed in self._lists.values():
                    listed.pop(found["reference"], None)
        return response

    def _enter(self, repository: str, body: bytes, media_type: str) -> str | None:
        manifest = json.loads(body)
        if "subject" not in manifest:
            return None
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        entry = {"mediaType": media_type, "digest": digest, "size": len(body)}
        entry["artifactType"] = manifest.get("artifactType") or manifest["config"]["mediaType"]
        if "annotations" in manifest:
            entry["annotations"] = manifest["annotations"]
        subject: str = manifest["subject"]["digest"]
        self._lists.setdefault((repository, subject), {})[digest] = entry
        return subject

    async def _list(self, request: web.Request, repository: str, digest: str) -> web.StreamResponse:
        allowed = await self._forward(request, f"/v2/{repository}/tags/list", b"", "GET")
        if allowed.status in (401, 403):
            return allowed
        entries = list(self._lists.get((repository, digest), {}).values())
        wanted = request.query.get("artifactType")
        headers = {"Content-Type": _INDEX}
        if wanted is not None:
            entries = [one for one in entries if one["artifactType"] == wanted]
            headers["OCI-Filters-Applied"] = "artifactType"
        at = int(request.query.get("at", "0"))
        if entries[at + PAGE :]:
            query = request.url.update_query(at=at + PAGE).raw_query_string
            headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries[at : at + PAGE]}
        return web.Response(body=json.dumps(index).encode(), headers=headers)

    async def _forward(self, request: web.Request, target: str, body: bytes, method: str | None = None) -> web.Response:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = self._upstream + target
        async with self._session.request(
            method or request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP]
            response = web.Response(status=answer.status, body=await answer.read(), headers=dict(kept))
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                response.headers["Content-Length"] = answer.headers["Content-Length"]
            return response


async def _application(upstream: str) -> web.Application:
    application = web.Application(client_max_size=2**30)
    lists = _Lists(upstream, aiohttp.ClientSession(auto_decompress=False))
    application.router.add_route("*", "/{path:.*}", lists.answer)
    return application


if __name__ == "__main__":
    web.run_app(_application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None)
