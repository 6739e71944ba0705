"""A registry over a real socket whose manners a test decides: what no stock registry here does wrong."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

from proxy.app import running
from proxy.config import load
from tests.lab.images import Image

Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]

_CONTENT = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


@dataclass
class FakeRegistry:
    """Serves one image under the tag `v1` of any repository; `interpose` may answer instead."""

    image: Image
    interpose: Answer | None = None
    requests: list[web.Request] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.interpose is not None and (answered := await self.interpose(request)) is not None:
            return answered
        return self.content(request) or web.json_response({"errors": [{"code": "UNKNOWN"}]}, status=404)

    def content(self, request: web.Request) -> web.Response | None:
        """Return the manifest or blob that is asked for, None when there is no such thing."""
        match = _CONTENT.fullmatch(request.path)
        if match is None:
            return web.Response() if request.path == "/v2/" else None
        reference = self.image.digest if match["reference"] == "v1" else match["reference"]
        everything = (*self.image.manifests, *self.image.blobs)
        found = next((blob for blob in everything if blob.digest == reference), None)
        if found is None:
            return None
        is_manifest = match["kind"] == "manifests"
        content_type = found.media_type if is_manifest else "application/octet-stream"
        headers = {"Docker-Content-Digest": found.digest, "Content-Type": content_type}
        return web.Response(body=found.content, headers=headers)

    def asked(self, method: str, ending: str) -> list[web.Request]:
        return [one for one in self.requests if one.method == method and one.path.endswith(ending)]


@contextlib.asynccontextmanager
async def serving(registry: FakeRegistry) -> AsyncIterator[FakeRegistry]:
    async with served(registry.answer) as url:
        registry.url = url
        yield registry


@contextlib.asynccontextmanager
async def served(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[str]:
    """Serve everything with one handler and yield the server's origin; a port of 0 is any that is free."""
    application = web.Application(client_max_size=0)
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def proxied(upstream: str, **settings: str) -> AsyncIterator[str]:
    """Run a proxy in this loop and yield its origin; settings are `cache__tag_ttl="5"`."""
    flags: dict[str, str | None] = {path.replace("__", "."): value for path, value in settings.items()}
    defaults = {"listen": "127.0.0.1:0", "admin": "none", "upstream.url": upstream, "shutdown_grace": "0.1"}
    async with running(load(defaults | flags, {})) as started:
        yield f"http://{started.listen}"


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for happens in another process or library
            await asyncio.sleep(0.01)
