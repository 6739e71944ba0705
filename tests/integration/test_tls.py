"""TLS on both sides of the proxy, over real sockets."""

import asyncio
import contextlib
import os
import signal
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509

from proxy.preflight import StartError
from tests.lab.certificates import Authority, Pair
from tests.lab.fake_registry import FakeRegistry, proxied, served, serving, until
from tests.lab.partition_requests import IMAGE, TAG, get, message
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from twodfs.oci.digest import digest_of


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def listener(authority: Authority) -> Pair:
    return authority.issue("listener", "127.0.0.1", "localhost")


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    async with serving(FakeRegistry(IMAGE)) as started:
        yield started


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


def tls_settings(pair: Pair, **more: str) -> dict[str, str]:
    return {"tls__certificate": str(pair.certificate), "tls__key": str(pair.key)} | more


def trusting(authority: Authority, own: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.bundle)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


async def connect(
    url: str, context: ssl.SSLContext, name: str | None = "localhost"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = url.partition("//")[2].rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)


async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)).split(b"\r\n")[0]


async def asked(url: str, context: ssl.SSLContext) -> bytes:
    reader, writer = await connect(url, context)
    try:
        return await status(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def serial(url: str, authority: Authority, name: str | None = "localhost") -> int:
    """Return the serial number of the certificate that a new connection gets."""
    context = trusting(authority)
    context.check_hostname = name is not None
    _, writer = await connect(url, context, name or "")
    raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(raw).serial_number


def serial_of(pair: Pair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number


async def test_partitions_come_over_tls_and_locations_say_https(
    registry: FakeRegistry, authority: Authority, listener: Pair
) -> None:
    async def upload(request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST":
            return None
        return web.Response(status=202, headers={"Location": f"{registry.url}/v2/a/blobs/uploads/1"})

    registry.interpose = upload
    connector = aiohttp.TCPConnector(ssl=trusting(authority))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        proxied(registry.url, **tls_settings(listener)) as plain,
    ):
        url = plain.replace("http:", "https:")
        assert (await get(session, url + TAG))[0] == 200
        _, headers, _ = await get(session, f"{url}/v2/a/blobs/uploads/", "POST")
        assert headers["Location"] == f"{url}/v2/a/blobs/uploads/1"


async def test_plain_http_and_old_tls_are_not_spoken(
    registry: FakeRegistry, authority: Authority, listener: Pair
) -> None:
    async with proxied(registry.url, **tls_settings(listener, tls__minimum_version="1.3")) as url:
        old = trusting(authority)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(url, old)
        host, _, port = url.partition("//")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b" 200 " not in await asyncio.wait_for(reader.read(), 30)
        writer.close()


async def test_a_handshake_that_never_comes_is_given_up(registry: FakeRegistry, listener: Pair) -> None:
    async with proxied(registry.url, **tls_settings(listener, limits__header_timeout="0.5")) as url:
        host, _, port = url.partition("//")[2].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_connections_that_never_shake_hands_give_way_to_those_that_do(
    registry: FakeRegistry, authority: Authority, listener: Pair
) -> None:
    async with proxied(registry.url, **tls_settings(listener, limits__connections="8")) as url:
        host, _, port = url.partition("//")[2].rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(30)]
        reader, writer = await connect(url, trusting(authority))
        assert b" 200 " in await status(reader, writer)
        writer.close()
        ended = [asyncio.ensure_future(one.read()) for one, _ in silent]
        done, waiting = await asyncio.wait(ended, timeout=1)
        assert len(done) >= 30 - 8
        assert {type(one.exception()) for one in done} <= {type(None), ConnectionResetError}
        for one in waiting:
            one.cancel()
        for _, end in silent:
            end.close()


async def test_a_new_pair_is_taken_up_and_open_connections_stay(
    registry: FakeRegistry, authority: Authority, listener: Pair
) -> None:
    async with proxied(registry.url, **tls_settings(listener)) as url:
        first = serial_of(listener)
        assert await serial(url, authority) == first
        reader, writer = await connect(url, trusting(authority))
        assert b" 200 " in await status(reader, writer)
        fresh = authority.issue("fresh", "127.0.0.1", "localhost")
        fresh.key.replace(listener.key)
        fresh.certificate.replace(listener.certificate)
        second = serial_of(listener)
        async with asyncio.timeout(20):
            while await serial(url, authority) != second:  # noqa: ASYNC110 - the proxy looks every two seconds
                await asyncio.sleep(0.1)
        assert await serial(url, authority, None) == second  # a client that names no server
        assert b" 200 " in await status(reader, writer)
        writer.close()


async def test_a_bad_new_pair_is_logged_and_the_old_one_stays(
    registry: FakeRegistry, authority: Authority, listener: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    async with proxied(registry.url, **tls_settings(listener)) as url:
        first = serial_of(listener)
        authority.issue("other", "localhost").key.replace(listener.key)  # not this certificate's
        said = ""
        async with asyncio.timeout(20):
            while "not exchanged" not in said:
                said += capsys.readouterr().out
                await asyncio.sleep(0.1)
        assert "the key is not that of the certificate" in said
        assert await serial(url, authority) == first


@pytest.fixture
def started(registry_server: Registry, listener: Pair, tmp_path: Path) -> Iterator[Proxy]:
    config = f'[tls]\ncertificate = "{listener.certificate}"\nkey = "{listener.key}"\n'
    with Proxy.start(tmp_path, registry_server.url, config=config) as proxy:
        yield proxy


@pytest.fixture
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry.start(tmp_path_factory.mktemp("registry")) as one:
        yield one


async def test_sighup_reads_the_files_again(started: Proxy) -> None:
    os.kill(started.pid, signal.SIGHUP)
    await until(lambda: any(one["event"] == "certificate exchanged" for one in started.log_events()))
    assert started.is_running()


async def test_sighup_without_certificates_says_that_nothing_is_read_again(
    registry_server: Registry, tmp_path: Path
) -> None:
    with Proxy.start(tmp_path, registry_server.url) as proxy:
        os.kill(proxy.pid, signal.SIGHUP)
        await until(lambda: any(one["event"] == "not reloaded" for one in proxy.log_events()))
        assert await asyncio.to_thread(proxy.terminate) == 0


@pytest.mark.parametrize("manner", ["optional", "required"])
async def test_client_certificates(
    registry: FakeRegistry, authority: Authority, listener: Pair, tmp_path: Path, manner: str
) -> None:
    known = authority.issue("known", "client.example")
    (tmp_path / "else").mkdir()
    stranger = Authority(tmp_path / "else").issue("stranger", "client.example")
    settings = tls_settings(listener, tls__client_certificates=manner, tls__client_ca=str(authority.bundle))
    async with proxied(registry.url, **settings) as url:
        assert b" 200 " in await asked(url, trusting(authority, known))
        failures = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)
        with pytest.raises(failures):
            await asked(url, trusting(authority, stranger))
        if manner == "optional":
            assert b" 200 " in await asked(url, trusting(authority))
        else:
            with pytest.raises(failures):
                await asked(url, trusting(authority))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ("missing", "tls.certificate cannot be read: "),
        ("no PEM", "a file holds no PEM certificate or key"),
        ("other key", "the key is not that of the certificate"),
    ],
)
async def test_a_bad_pair_stops_the_start(authority: Authority, listener: Pair, spoil: str, said: str) -> None:
    match spoil:
        case "missing":
            listener.certificate.unlink()
        case "no PEM":
            listener.certificate.write_text("nothing")
        case _:
            authority.issue("other", "localhost").key.replace(listener.key)
    with pytest.raises(StartError, match=said):
        async with proxied("http://127.0.0.1:1", **tls_settings(listener)):
            raise AssertionError("it started")


@contextlib.asynccontextmanager
async def tls_registry(registry: FakeRegistry, pair: Pair, clients: Authority | None = None) -> AsyncIterator[str]:
    context = pair.server_context()
    if clients is not None:
        context.load_verify_locations(clients.bundle)
        context.verify_mode = ssl.CERT_REQUIRED
    async with served(registry.answer, context) as url:
        registry.url = url
        yield url


async def test_a_registry_with_a_private_ca_is_trusted_once_it_is_named(
    client: aiohttp.ClientSession, authority: Authority
) -> None:
    pair = authority.issue("registry", "127.0.0.1")
    async with tls_registry(FakeRegistry(IMAGE), pair) as upstream:
        async with proxied(upstream) as url:
            for target in (TAG, "/v2/"):
                answered, code, said = await message(client, url + target)
                assert (answered, code) == (502, "UNAVAILABLE")
                assert "is not trusted" in said
                assert said.endswith("set upstream.ca_file to the CA that signed it")
        async with proxied(upstream, upstream__ca_file=str(authority.bundle)) as url:
            assert (await get(client, url + TAG))[0] == 200


async def test_server_name_and_host_may_differ_from_the_address(
    client: aiohttp.ClientSession, authority: Authority
) -> None:
    registry = FakeRegistry(IMAGE)

    async def located(request: web.Request) -> web.StreamResponse | None:
        location = {"Location": f"https://{request.headers['Host']}/v2/a/blobs/uploads/1"}
        return web.Response(status=202, headers=location) if request.method == "POST" else None

    registry.interpose = located
    pair = authority.issue("registry", "registry.internal")
    async with tls_registry(registry, pair) as upstream:
        settings = {"upstream__ca_file": str(authority.bundle)}
        async with proxied(upstream, **settings) as url:
            _, _, said = await message(client, url + TAG)
            assert said.endswith("set upstream.server_name to a name that is in it")
        settings |= {"upstream__server_name": "registry.internal", "upstream__host": "registry.example"}
        async with proxied(upstream, **settings) as url:
            assert (await get(client, url + TAG))[0] == 200
            _, headers, _ = await get(client, f"{url}/v2/a/blobs/uploads/", "POST")
            assert headers["Location"] == f"{url}/v2/a/blobs/uploads/1"
    assert {one.headers["Host"] for one in registry.requests} == {"registry.example"}


async def test_token_questions_of_ours_have_the_name_and_host_of_the_registry(
    client: aiohttp.ClientSession, authority: Authority
) -> None:
    registry = FakeRegistry(IMAGE)

    async def locked(request: web.Request) -> web.StreamResponse | None:
        if request.path == "/token":
            return web.json_response({"token": "good"})
        if request.headers.get("Authorization") == "Bearer good":
            return None
        challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="x"'}
        return web.Response(status=401, headers=challenge)

    registry.interpose = locked
    pair = authority.issue("registry", "registry.internal")
    async with tls_registry(registry, pair) as upstream:
        settings = {
            "upstream__ca_file": str(authority.bundle),
            "upstream__server_name": "registry.internal",
            "upstream__host": "registry.example",
            "upstream__credentials__kind": "static",
            "upstream__credentials__username": "servant",
            "upstream__credentials__password": "pass",
            "auth__clients__allow_anonymous": "true",
        }
        async with proxied(upstream, **settings) as url:
            assert (await get(client, url + TAG))[0] == 200
    assert {"/v2/", "/token"} <= {one.path for one in registry.requests}
    assert {one.headers["Host"] for one in registry.requests} == {"registry.example"}


@pytest.mark.parametrize("is_ours", [True, False], ids=["our credentials", "the client's"])
async def test_a_token_server_elsewhere_may_be_trusted_by_the_system_and_sees_no_certificate_of_ours(
    client: aiohttp.ClientSession,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_ours: bool,
) -> None:
    (tmp_path / "public").mkdir()
    public = Authority(tmp_path / "public")
    monkeypatch.setenv("SSL_CERT_FILE", str(public.bundle))
    own = authority.issue("proxy", "proxy.example")
    shown: list[object] = []
    server = public.issue("tokens", "127.0.0.1").server_context()
    server.load_verify_locations(authority.bundle)
    server.verify_mode = ssl.CERT_OPTIONAL

    async def tokens(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        shown.append(request.transport.get_extra_info("peercert"))
        return web.json_response({"token": "good"})

    registry = FakeRegistry(IMAGE)
    pair = authority.issue("registry", "127.0.0.1")
    async with served(tokens, server) as realm, tls_registry(registry, pair, authority) as upstream:

        async def locked(request: web.Request) -> web.StreamResponse | None:
            if request.headers.get("Authorization") == "Bearer good":
                return None
            challenge = {"WWW-Authenticate": f'Bearer realm="{realm}/token",service="x"'}
            return web.Response(status=401, headers=challenge)

        registry.interpose = locked
        settings = {
            "upstream__ca_file": str(authority.bundle),
            "upstream__client_certificate": str(own.certificate),
            "upstream__client_key": str(own.key),
            "auth__realm_hosts": realm.removeprefix("https://"),
        }
        if is_ours:
            settings |= {
                "upstream__credentials__kind": "static",
                "upstream__credentials__username": "servant",
                "upstream__credentials__password": "pass",
                "auth__clients__allow_anonymous": "true",
            }
        else:
            settings["auth__realm"] = "proxy"
        async with proxied(upstream, **settings) as url:
            target = TAG if is_ours else "/twodfs/token?service=x"
            assert (await get(client, url + target))[0] == 200
    assert shown
    assert not any(shown)


@pytest.mark.parametrize("public", [False, True])
async def test_the_challenge_names_our_token_endpoint_as_the_client_reaches_us(
    registry: FakeRegistry, authority: Authority, listener: Pair, *, public: bool
) -> None:
    async def locked(_: web.Request) -> web.StreamResponse:
        challenge = {"WWW-Authenticate": f'Bearer realm="{registry.url}/token",service="x"'}
        return web.json_response({"errors": []}, status=401, headers=challenge)

    registry.interpose = locked
    connector = aiohttp.TCPConnector(ssl=trusting(authority))
    settings = tls_settings(listener, auth__realm="proxy")
    if public:
        settings["public_url"] = "https://registry.example.org"
    claims = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        proxied(registry.url, **settings) as plain,
    ):
        url = plain.replace("http:", "https:")
        expected = "https://registry.example.org" if public else url
        # Passed on, and refused to the proxy itself, which asked for the base tag.
        for target in ("/v2/", "/v2/team/model/manifests/v1", TAG):
            for method in ("GET", "HEAD"):
                status, headers, _ = await get(session, url + target, method, **claims)
                assert status == 401
                assert headers["WWW-Authenticate"] == f'Bearer realm="{expected}/twodfs/token",service="x"'


async def test_large_blobs_come_whole_over_tls_where_nothing_can_be_spliced(
    authority: Authority, listener: Pair, client: aiohttp.ClientSession
) -> None:
    content = os.urandom(5 * 2**20 + 7)
    path = f"/v2/team/model/blobs/{digest_of(content)}"

    async def blobs(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content)

    tls_client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(authority)))
    upstream_tls = listener.server_context()
    async with tls_client, served(blobs) as plain, served(blobs, upstream_tls) as encrypted:
        for upstream in (plain, encrypted):
            trust = {"upstream__ca_file": str(authority.bundle)}
            async with proxied(upstream, **tls_settings(listener, **trust)) as url:
                for _ in range(2):  # also on a kept connection
                    body = (await get_bytes(tls_client, url.replace("http:", "https:") + path))[1]
                    assert digest_of(body) == digest_of(content)
        async with proxied(encrypted, upstream__ca_file=str(authority.bundle)) as url:
            for _ in range(2):
                assert digest_of((await get_bytes(client, url + path))[1]) == digest_of(content)


async def get_bytes(client: aiohttp.ClientSession, url: str) -> tuple[int, bytes]:
    async with client.get(url) as answer:
        return answer.status, await answer.read()


def test_workers_take_up_a_new_certificate_on_sighup(
    tmp_path: Path, authority: Authority, listener: Pair, redis_server: Redis
) -> None:
    config = (
        f'workers = 2\n[cache]\nredis_url = "{redis_server.url}"\n'
        f'[tls]\ncertificate = "{listener.certificate}"\nkey = "{listener.key}"\n'
    )
    with (
        Registry.start(tmp_path) as stock,
        Proxy.start(tmp_path, stock.url, config=config) as proxy,
    ):
        before = asyncio.run(serial(proxy.url, authority))
        fresh = authority.issue("fresh", "127.0.0.1", "localhost")
        for new, old in ((fresh.key, listener.key), (fresh.certificate, listener.certificate)):
            new.replace(old)
        os.kill(proxy.pid, signal.SIGHUP)

        async def all_are_new() -> None:
            async with asyncio.timeout(30):
                seen = {before}
                while before in seen:
                    seen = {await serial(proxy.url, authority) for _ in range(20)}

        asyncio.run(all_are_new())


async def test_the_proxy_shows_its_certificate_to_the_registry(
    client: aiohttp.ClientSession, authority: Authority
) -> None:
    pair, own = authority.issue("registry", "127.0.0.1"), authority.issue("proxy", "proxy.example")
    async with tls_registry(FakeRegistry(IMAGE), pair, authority) as upstream:
        settings = {"upstream__ca_file": str(authority.bundle)}
        async with proxied(upstream, **settings) as url:
            _, _, said = await message(client, url + TAG)
            assert "upstream.client_certificate" in said
        settings |= {
            "upstream__client_certificate": str(own.certificate),
            "upstream__client_key": str(own.key),
        }
        async with proxied(upstream, **settings) as url:
            assert (await get(client, url + TAG))[0] == 200
