import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from proxy.config import Config, ConfigError, environment_variable, load, settings

UPSTREAM = {"upstream": "http://127.0.0.1:5001"}
EXAMPLE = Path(__file__).parents[4] / "config.example.toml"


def config_of(flags: Mapping[str, str] = UPSTREAM, **environment: str) -> Config:
    return load(flags, {f"TWODFS_PROXY_{name}": value for name, value in environment.items()})


def refusal(flags: Mapping[str, str] = UPSTREAM, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config_of(flags, **environment)
    return str(caught.value)


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('upstream = "http://file:1"\nlisten = "127.0.0.1:1"\n[cache]\nkey_prefix = "file"\ntag_ttl = 7\n')
    environment = {
        "TWODFS_PROXY_UPSTREAM": "http://environment:2",
        "TWODFS_PROXY_CACHE_KEY_PREFIX": "environment",
    }
    config = load({"upstream": "http://flag:3", "listen": None}, environment, file)
    assert config.upstream.url == "http://flag:3"
    assert config.cache.key_prefix == "environment"
    assert (str(config.listen), config.cache.tag_ttl) == ("127.0.0.1:1", 7)
    assert config.partition.max_layers == 125


@pytest.mark.parametrize("toml", ['upstream = "http://a:1"', '[upstream]\nurl = "http://a:1"'])
def test_the_upstream_may_be_written_short(tmp_path: Path, toml: str) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(toml)
    assert load({}, {}, file).upstream.url == "http://a:1"


@pytest.mark.parametrize("written", ['"http://a:1, http://b:2/"', '["http://a:1", "http://b:2"]'])
def test_several_upstreams(tmp_path: Path, written: str) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(f"[upstream]\nurl = {written}")
    assert load({}, {}, file).upstream.urls == ("http://a:1", "http://b:2")
    assert load({"upstream": "http://c,http://d"}, {}, file).upstream.urls == ("http://c", "http://d")


def test_the_example_file_has_every_setting_with_its_default() -> None:
    uncommented = re.sub(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    written = dict(flat(tomllib.loads(uncommented)))
    assert set(written) == set(settings())
    assert load({}, {}, EXAMPLE).upstream.url == "http://127.0.0.1:5001"
    defaults = dict(flat(config_of().model_dump(mode="json")))
    for path, default in defaults.items():
        if default not in (None, "", "**********") and path != "upstream.url":
            shown = load({"upstream": "http://a:1", path: str(written[path])}, {}).model_dump(mode="json")
            assert dict(flat(shown))[path] == default, path


def flat(content: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in content.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


@pytest.mark.parametrize("written", ["/a.pub, /b.pub", '["/a.pub", "/b.pub"]'])
def test_a_list_of_files_from_the_environment(written: str) -> None:
    config = config_of(SIGNING_SOURCE_KEYS=written, SIGNING_REQUIRE_SOURCE_SIGNATURE="true")
    assert config.signing.source_keys == (Path("/a.pub"), Path("/b.pub"))


def test_a_policy_without_keys_is_refused() -> None:
    assert "takes source_keys" in refusal(SIGNING_REQUIRE_SOURCE_SIGNATURE="true")


@pytest.mark.parametrize("name", ["image", "Edge", "0.0.0.1", "edge--gpu", ""])
def test_a_plain_tag_gives_a_partition_by_name(name: str) -> None:
    said = "expected pass, all, or the name of a partition such as edge or default"
    assert said in refusal(PARTITION_PLAIN_TAG=name)


@pytest.mark.parametrize(("name", "selection"), [("pass", None), ("all", "all"), ("edge", "edge"), ("base", "base")])
def test_the_selection_that_a_plain_tag_gives(name: str, selection: str | None) -> None:
    found = config_of(PARTITION_PLAIN_TAG=name).partition.plain_selection
    assert (None if found is None else str(found)) == selection


@pytest.mark.parametrize("name", ["http://a", "a/b", "a b", "a:port"])
def test_signatures_name_a_registry_by_host_and_port(name: str) -> None:
    assert "expected host or host:port" in refusal(SIGNING_REGISTRY=name)
    assert config_of(SIGNING_REGISTRY="a.example:5000").signing.registry == "a.example:5000"


def test_every_setting_has_a_variable_of_its_own() -> None:
    variables = [environment_variable(path) for path in settings()]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "LISTEN",
            "5000",
            "listen '5000' is not allowed (environment TWODFS_PROXY_LISTEN): expected host:port",
        ),
        ("LISTEN", "127.0.0.1:70000", "a port of 0 to 65535"),
        ("ADMIN", "nope", "admin 'nope' is not allowed"),
        ("UPSTREAM", "registry:5000", "upstream.url 'registry:5000' is not allowed"),
        ("UPSTREAM", "http://a/prefix", "expected an origin, without a path"),
        ("UPSTREAM", "ftp://a", "expected http://host[:port] or https://host[:port]"),
        *(
            ("UPSTREAM", f"http://{host}:80", "expected http://host[:port] or https://host[:port]")
            for host in ("xn--a", "b.xn--a", "a..b", "a" * 64)
        ),
        ("LISTEN", "xn--a:5000", "expected host:port"),
        ("ADMIN", "xn--a:5000", "expected host:port"),
        ("PUBLIC_URL", "https://xn--a", "expected http://host[:port]"),
        ("UPSTREAM_HOST", "xn--a", "expected host or host:port"),
        ("UPSTREAM_SERVER_NAME", "a..b", "expected host or host:port"),
        ("SIGNING_REGISTRY", "xn--a:5000", "expected host or host:port"),
        ("BLOBS_ALLOWED_HOSTS", "s3.example,*.xn--a", "expected host names"),
        ("AUTH_REALM_HOSTS", "xn--a", "expected host or host:port"),
        ("AUTH_REALM_HOSTS", "xn--a:443", "expected host:port"),
        ("AUTH_TOKEN_REALM", "https://xn--a/token", "expected http(s)://host[:port]/path"),
        ("UPSTREAM_CREDENTIALS_ECR_ENDPOINT", "https://xn--a", "expected http://host[:port]"),
        ("CACHE_REDIS_URL", "redis://xn--a:6379", "expected hosts that can be looked up"),
        ("CACHE_REDIS_URL", "redis+sentinel://a,a..b/main", "expected hosts that can be looked up"),
        ("UPSTREAM", "http://a,ftp://b", "expected http://host[:port] or https://host[:port]"),
        ("UPSTREAM", "http://a,http://a", "expected each origin once"),
        ("UPSTREAM", "http://a,https://b", "expected all origins with http or all with https"),
        ("UPSTREAM", ",", "expected one origin, or up to 16"),
        ("UPSTREAM_BALANCE", "random", "'failover' or 'round-robin'"),
        ("CACHE_TAG_TTL", "-1", "cache.tag_ttl '-1' is not allowed"),
        ("CACHE_MEMORY", "lots", "cache.memory 'lots' is not allowed"),
        ("CACHE_REDIS_TIMEOUT", "0", "greater than or equal to 0.001"),
        ("PARTITION_MAX_LAYERS", "0", "greater than or equal to 1"),
        ("LOG_FORMAT", "xml", "'json' or 'console'"),
        ("CACHE_KEY_PREFIX", "a b", "cache.key_prefix 'a b' is not allowed"),
        ("EDGE_MAX_STALE", "7 years", "expected seconds, or a number with s, m, min, h, d or w behind it, as 7d"),
        ("EDGE_MAX_STALE", "-1", "greater than or equal to 0"),
        ("EDGE_OFFLINE_GRANT", "600w", "less than or equal to 316224000"),
        ("EDGE_OFFLINE_AFTER", "0", "greater than or equal to 0.001"),
        ("EDGE_MAX_SIZE", "1MB", "greater than or equal to 1048576"),
        ("EDGE_MAX_SIZE", "many", "edge.max_size 'many' is not allowed"),
    ],
)
def test_a_bad_value_names_its_path_the_value_and_what_is_allowed(name: str, value: str, said: str) -> None:
    flags = {} if name == "UPSTREAM" else UPSTREAM
    assert said in refusal(flags, **{name: value})


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *(("7d", 604_800), ("24h", 86_400), ("90 min", 5400), ("90m", 5400), (" 1.5 h ", 5400), ("2w", 1_209_600)),
        *(("30s", 30), ("3600", 3600), ("0", 0), ("1e3", 1000)),
    ],
)
def test_a_time_may_have_a_unit(written: str, seconds: float, tmp_path: Path) -> None:
    assert config_of(EDGE_MAX_STALE=written).edge.max_stale == seconds
    file = tmp_path / "proxy.toml"
    file.write_text(f'[edge]\nmax_stale = "{written}"\noffline_grant = {seconds}')
    edge = load(UPSTREAM, {}, file).edge
    assert (edge.max_stale, edge.offline_grant) == (seconds, seconds)


def test_sizes_of_the_edge_have_units() -> None:
    edge = config_of(EDGE_MAX_SIZE="20GB", EDGE_MIN_FREE="512MiB").edge
    assert (edge.max_size, edge.min_free) == (20 * 10**9, 512 * 2**20)


def test_workers_share_redis_or_an_edge_directory() -> None:
    assert "set cache.redis_url or edge.directory, or workers = 1" in refusal(WORKERS="2")
    assert config_of(WORKERS="2", EDGE_DIRECTORY="/srv/edge").workers == 2
    assert config_of(WORKERS="2", CACHE_REDIS_URL="redis://127.0.0.1").workers == 2
    assert "need a shared cache" in refusal(WORKERS="2", EDGE_DIRECTORY="")


def test_the_edge_directory_is_a_flag(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('[edge]\ndirectory = "/srv/other"\nadmin_token_file = ""')
    directory = tmp_path / "new" / "edge"
    done = command(
        "--upstream", "http://127.0.0.1:5001", "--config", str(file), "--edge", str(directory), "--check-config"
    )
    assert done.returncode == 0, done.stderr
    shown = orjson.loads(done.stdout)["edge"]
    assert (shown["directory"], shown["admin_token_file"]) == (str(directory), None)
    assert not directory.parent.exists(), "a check makes nothing, which another user than the start's would own"


def test_unknown_keys_are_errors_that_name_the_nearest_known(tmp_path: Path) -> None:
    assert "TWODFS_PROXY_CACHE_REDIS is not known; did you mean TWODFS_PROXY_CACHE_REDIS_URL?" in refusal(
        CACHE_REDIS="x"
    )
    file = tmp_path / "proxy.toml"
    file.write_text("[cache]\nredis = 1\n[blob]\nx = 1\n")
    with pytest.raises(ConfigError, match=r"cache.redis is not known \(file .*did you mean cache.redis_url") as caught:
        load(UPSTREAM, {}, file)
    assert re.search(r"blob is not known \(file .*config.example.toml lists every setting", str(caught.value))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("auth_ttl = 1", "auth.ttl"),
        ("[auth]\nauth_ttl = 1", "auth.ttl"),
        ("allow_anonymous_clients = true", "auth.clients.allow_anonymous"),
        ("[auth]\nallow_anonymous_clients = true", "auth.clients.allow_anonymous"),
        ('htpasswd = "x"', "auth.clients.htpasswd"),
        ("tag_ttl = 1", "cache.tag_ttl"),
        ("require_source_signature = true", "signing.require_source_signature"),
        ('[auth]\nhtpasswd = "x"', "auth.clients.htpasswd"),
    ],
)
def test_a_setting_in_the_wrong_place_is_told_its_own(tmp_path: Path, given: str, meant: str) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(given)
    with pytest.raises(ConfigError, match=rf"is not known .*; did you mean {re.escape(meant)}\?"):
        load(UPSTREAM, {}, file)


def test_a_secret_that_could_be_guessed_is_refused_and_not_shown() -> None:
    said = refusal(UPSTREAM, CACHE_SECRET="hunter2")
    assert said == (
        "cache.secret is not allowed (environment TWODFS_PROXY_CACHE_SECRET): "
        "expected 16 characters or more (openssl rand -hex 32)"
    )


def test_a_missing_upstream_says_how_to_give_it() -> None:
    assert refusal({}) == (
        "upstream.url is missing: give --upstream, TWODFS_PROXY_UPSTREAM or the key in the TOML file"
    )


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*missing.toml: No such file"):
        load(UPSTREAM, {}, tmp_path / "missing.toml")
    file = tmp_path / "broken.toml"
    file.write_text("a = = b")
    with pytest.raises(ConfigError, match=r"broken.toml is not TOML: "):
        load(UPSTREAM, {}, file)


def test_passwords_are_never_shown() -> None:
    config = config_of(CACHE_REDIS_URL="rediss://user:hunter2@redis.example:6380/1")
    assert "hunter2" not in repr(config)
    assert "hunter2" not in orjson.dumps(config.model_dump(mode="json")).decode()
    assert "hunter2" not in refusal(CACHE_REDIS_URL="http://user:hunter2@redis.example")
    assert "hunter2" not in refusal({}, UPSTREAM="http://user:hunter2@registry.example")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@h:notaport/0",
        "redis://:s3cret@[::1/0",
        "redis://:s3cret@h/0?foo=bar",
        "http://:s3cret@h",
        "redis://:s3cret@h?max_connections=abc",
    ],
)
def test_a_redis_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    said = refusal(CACHE_REDIS_URL=url)
    assert "cache.redis_url is not allowed" in said
    assert "s3cret" not in said


def test_what_kubernetes_sets_beside_a_service_of_our_name_is_ignored() -> None:
    links = {
        "SERVICE_PORT": "5000",
        "SERVICE_PORT_HTTP": "5000",
        "SERVICE_HOST": "10.0.0.1",
        "PORT": "tcp://10.0.0.1:5000",
        "PORT_5000_TCP_PORT": "5000",
    }
    environment = {f"TWODFS_PROXY_{name}": value for name, value in links.items()}
    assert load(UPSTREAM, environment) == config_of()


def test_a_value_where_a_section_belongs_is_an_error_and_no_crash(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text("cache = 5\n")
    with pytest.raises(ConfigError, match="cache 5 is not allowed"):
        load(UPSTREAM, {}, file)
    assert load(UPSTREAM, {"TWODFS_PROXY_CACHE_TTL": "5"}, file).cache.ttl == 5


def test_health_is_not_on_the_public_port() -> None:
    assert "must not be on the public port" in refusal(UPSTREAM | {"listen": "127.0.0.1:1", "admin": "127.0.0.1:1"})


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "proxy", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False, cwd=EXAMPLE.parent)


def test_check_config_prints_what_would_be_used() -> None:
    done = command("--upstream", "http://127.0.0.1:5001", "--check-config", "--admin", "none")
    assert done.returncode == 0, done.stderr
    shown = orjson.loads(done.stdout)
    assert (shown["admin"], shown["upstream"]["url"]) == ("none", "http://127.0.0.1:5001")


def test_check_config_prints_lists_as_lists_and_takes_no_value(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(
        'trusted_proxies = ["10.0.0.0/8", "fd00::/8"]\n'
        '[blobs]\nallowed_hosts = "s3.example.org, *.example.com"\nallowed_networks = ["10.1.0.0/16"]\n'
    )
    done = command("--upstream", "http://127.0.0.1:5001", "--config", str(file), "--check-config")
    shown = orjson.loads(done.stdout)
    assert shown["trusted_proxies"] == ["10.0.0.0/8", "fd00::/8"]
    assert shown["blobs"]["allowed_hosts"] == ["s3.example.org", "*.example.com"]
    assert shown["blobs"]["allowed_networks"] == ["10.1.0.0/16"]
    with_value = command("--upstream", "http://127.0.0.1:5001", "--check-config", "true")
    assert (with_value.returncode, with_value.stdout) == (2, "")
    assert "--check-config" in command("--help").stdout
    assert "<bool>" not in command("--help").stdout


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[tls]\ncertificate = "/nowhere/tls.crt"', "tls.certificate cannot be read: /nowhere/tls.crt"),
        ('[upstream]\nca_file = "/nowhere/ca.crt"', "upstream.ca_file cannot be read: /nowhere/ca.crt"),
        ('[signing]\nkey = "/nowhere/key.pem"', "/nowhere/key.pem"),
        (
            '[signing]\nrequire_source_signature = true\nsource_keys = ["/nowhere/cosign.pub"]',
            "/nowhere/cosign.pub",
        ),
        ('[auth.token]\nkeys = "/nowhere/keys.pem"\nissuer = "i"\naudience = "a"', "/nowhere/keys.pem"),
        (
            '[cache]\nredis_url = "rediss://[::1]"\nredis_ca_file = "/nowhere/ca.crt"',
            "cache.redis_ca_file",
        ),
        (
            '[upstream.credentials]\nkind = "static"\ntoken = "t"\n[auth.clients]\nhtpasswd = "/nowhere/h"',
            "/nowhere/h",
        ),
    ],
)
def test_check_config_refuses_what_cannot_start(tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text(written)
    flags = ("--upstream", "https://127.0.0.1:5001", "--config", str(file))
    checked = command(*flags, "--check-config")
    assert (checked.returncode, checked.stdout) == (1, "")
    assert said in checked.stderr


@pytest.mark.parametrize(
    ("below", "said"),
    [("file", "Not a directory"), ("file/edge", "Not a directory")],
)
def test_check_config_refuses_an_edge_directory_that_cannot_be_used(tmp_path: Path, below: str, said: str) -> None:
    (tmp_path / "file").write_text("")
    done = command("--upstream", "http://127.0.0.1:5001", "--edge", str(tmp_path / below), "--check-config")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"edge.directory {tmp_path / below} cannot be used: {said}; name a directory" in done.stderr


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:5000", "http://localhost:5000"),
        ("0.0.0.0:80", "http://127.0.0.1"),
        ("[::]:443", "https://[::1]"),
        ("registry.internal:5000", "http://other.internal:5000,http://registry.internal:5000"),
    ],
)
def test_a_proxy_in_front_of_itself_is_refused(listen: str, upstream: str) -> None:
    done = command("--listen", listen, "--upstream", upstream, "--admin", "none")
    assert done.returncode == 1
    assert "is where the proxy itself listens; name the registry's address" in done.stderr


def test_the_public_url_is_no_registry(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('public_url = "https://models.example.org"')
    flags = ("--config", str(file), "--check-config", "--upstream")
    done = command(*flags, "https://models.example.org:443")
    assert (done.returncode, "is the proxy's own public_url" in done.stderr) == (1, True)
    assert command(*flags, "http://models.example.org:5001").returncode == 0


def test_check_config_opens_the_files_of_each_registry_and_says_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    quay = (
        'name = "quay"\nurl = "http://127.0.0.1:3"\n[upstream.credentials]\nkind = "file"\nfile = "/nowhere/secret"\n'
    )
    tables = (
        'name = "harbor"\nurl = "http://127.0.0.1:1"\n',
        'name = "hub"\nurl = "https://127.0.0.1:2"\nca_file = "/nowhere/ca.crt"\n',
        f'{quay}[upstream.auth.clients]\nhtpasswd = "/nowhere/users"\n',
        'name = "self"\nurl = "http://127.0.0.1:5000"\n',
    )
    file.write_text("".join(f"[[upstream]]\n{one}" for one in tables))
    checked = command("--config", str(file), "--check-config")
    assert (checked.returncode, checked.stdout) == (1, "")
    lines = checked.stderr.splitlines()
    starts = (
        "[[upstream]] self: upstream.url http://127.0.0.1:5000 is where the proxy itself listens",
        "[[upstream]] quay: cannot read /nowhere/users",
        "[[upstream]] hub: upstream.ca_file cannot be read: /nowhere/ca.crt",
        "[[upstream]] quay: upstream.credentials.file: cannot read /nowhere/secret",
    )
    assert len(lines) == len(starts), lines
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"twodfs-proxy: {start}"), line


def test_check_config_prints_for_each_registry_what_would_be_used(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    hub = '[[upstream]]\nname = "hub"\nurl = "http://127.0.0.1:2"\n'
    shared = '[auth]\nttl = 7\nrealm = "proxy"\n[blobs]\nredirect = "follow"\n'
    file.write_text(f'[[upstream]]\nname = "harbor"\nurl = "http://127.0.0.1:1"\n{hub}{shared}')
    (shown,) = orjson.loads(command("--config", str(file), "--check-config").stdout)["upstreams"]
    assert (shown["name"], shown["auth"]["ttl"], shown["auth"]["realm"]) == ("hub", 7, "proxy")
    assert shown["blobs"]["redirect"] == "follow"


def test_a_bad_configuration_ends_with_2_and_a_line_for_each_mistake() -> None:
    done = command("--upstream", "nonsense", "--listen", "nowhere")
    assert done.returncode == 2
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["listen", "upstream.url"]


def test_help_teaches() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert "docker pull 127.0.0.1:5000/library/model:v1--0.0.1.2" in done.stdout


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = command("--upstream", "http://127.0.0.1:1", "--listen", address, "--admin", "none")
    assert done.returncode == 1
    assert f"cannot listen on {address} (public): " in done.stderr


@pytest.mark.parametrize(
    ("listen", "admin"),
    [
        ("0.0.0.0:5000", "127.0.0.1:5000"),
        ("127.0.0.1:5000", "0.0.0.0:5000"),
        ("[::]:5000", "127.0.0.1:5000"),
        ("localhost:5000", "127.0.0.1:5000"),
        ("[::1]:5000", "[0:0::1]:5000"),
    ],
)
def test_health_is_not_on_the_public_port_in_other_words(listen: str, admin: str) -> None:
    assert "must not be on the public port" in refusal(UPSTREAM | {"listen": listen, "admin": admin})
    config_of(UPSTREAM | {"listen": listen, "admin": admin.replace("5000", "5001")})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRUSTED_PROXIES", "10.0.0.1/8", "expected networks like 10.0.0.0/8"),
        ("BLOBS_ALLOWED_NETWORKS", "everywhere", "expected networks like 10.0.0.0/8"),
        ("BLOBS_ALLOWED_HOSTS", "http://minio", "expected host names like"),
        ("BLOBS_REDIRECT", "maybe", "'pass' or 'follow'"),
        ("UPSTREAM_HOST", "a/b", "expected host or host:port"),
        ("UPSTREAM_CLIENT_KEY", "/key.pem", "client_key is the key of client_certificate"),
        ("TLS_KEY", "/key.pem", "set tls.certificate"),
        ("TLS_CLIENT_CERTIFICATES", "required", "set tls.certificate"),
        ("TLS_MINIMUM_VERSION", "1.1", "'1.2' or '1.3'"),
        ("LIMITS_CONNECTIONS", "0", "greater than or equal to 8"),
    ],
)
def test_the_edge_says_what_is_allowed(name: str, value: str, said: str) -> None:
    assert said in refusal(UPSTREAM, **{name: value})


def test_client_certificates_need_a_ca() -> None:
    assert "client_ca and client_certificates go together" in refusal(
        UPSTREAM, TLS_CERTIFICATE="/a.pem", TLS_CLIENT_CERTIFICATES="required"
    )


def test_lists_have_commas_in_the_environment_and_brackets_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    file.write_text('trusted_proxies = ["10.0.0.0/8", "fd00::/8"]\n[blobs]\nallowed_hosts = ["A.lan"]\n')
    from_file = load(UPSTREAM, {}, file)
    assert from_file == config_of(TRUSTED_PROXIES="10.0.0.0/8,fd00::/8", BLOBS_ALLOWED_HOSTS="a.lan")


STATIC: dict[str, str] = UPSTREAM | {
    "upstream.credentials.kind": "static",
    "upstream.credentials.username": "servant",
    "upstream.credentials.password": "hunter2",
}


def test_a_door_without_clients_does_not_start_and_says_what_to_set() -> None:
    assert refusal(STATIC) == (
        "upstream.credentials let the proxy in for whoever asks it, so it must know its clients: set "
        "auth.clients.htpasswd or auth.token.keys, or auth.clients.allow_anonymous = true to let in everyone "
        "who can connect"
    )
    assert config_of(STATIC | {"auth.clients.htpasswd": "/etc/clients"}).controls_access
    assert config_of(STATIC | {"auth.clients.allow_anonymous": "true"}).controls_access
    assert not config_of().controls_access


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"auth.clients.allow_anonymous": "true"}, "auth.clients has no use without upstream.credentials"),
        ({"auth.token.keys": "/keys"}, "keys need issuer and audience"),
        ({"auth.token.leeway": "301"}, "auth.token.leeway '301' is not allowed"),
        ({"auth.token.realm": "https://a/b c"}, "expected no spaces"),
        ({"auth.realm": "mine"}, "'upstream' or 'proxy'"),
        ({"auth.realm_hosts": "https://a/token"}, "expected host"),
        ({"auth.ttl": "-1"}, "auth.ttl '-1' is not allowed"),
        ({"upstream.credentials.kind": "file"}, "kind file needs file"),
        ({"upstream.credentials.kind": "static"}, "kind static needs username and password, or token"),
        ({"upstream.credentials.username": "servant"}, "kind none has no use for username"),
        (
            STATIC | {"auth.clients.allow_anonymous": "true", "auth.realm": "proxy"},
            "auth.realm = proxy has no use with upstream.credentials",
        ),
        (
            STATIC | {"auth.token.keys": "/k", "auth.token.issuer": "i", "auth.token.audience": "a"},
            "auth.token.realm is missing",
        ),
        (
            STATIC | {"auth.clients.rules": '[{"users":["a"],"repositories":["b"],"actions":["fly"]}]'},
            "auth.clients.rules.0.actions.0 is not allowed (flag): input should be 'pull', 'push'",
        ),
        (
            STATIC | {"auth.clients.rules": '[{"users":["a"]}]'},
            "auth.clients.rules.0.repositories is missing",
        ),
        (STATIC | {"auth.clients.rules": "[{]"}, "expected a JSON list"),
    ],
)
def test_settings_of_authentication_that_do_not_fit_are_refused(more: dict[str, str], said: str) -> None:
    heard = refusal(UPSTREAM | more)
    assert said in heard
    assert "hunter2" not in heard


def test_lists_are_written_with_commas_or_as_json() -> None:
    for written in ("auth.docker.io, 127.0.0.1:5001", '["auth.docker.io", "127.0.0.1:5001"]'):
        assert config_of(AUTH_REALM_HOSTS=written).auth.realm_hosts == ("auth.docker.io", "127.0.0.1:5001")


@pytest.mark.parametrize("name", ["PASSWORD", "TOKEN"])
def test_a_secret_of_ours_is_never_shown(name: str) -> None:
    variables = {"UPSTREAM_CREDENTIALS_KIND": "static", f"UPSTREAM_CREDENTIALS_{name}": "hunter2"}
    complete = variables | {"UPSTREAM_CREDENTIALS_USERNAME": "u", "AUTH_CLIENTS_ALLOW_ANONYMOUS": "true"}
    config = config_of(UPSTREAM, **complete)
    assert "hunter2" not in repr(config)
    assert "hunter2" not in orjson.dumps(config.model_dump(mode="json")).decode()
    assert "hunter2" not in refusal(UPSTREAM, **variables)
    assert "hunter2" not in refusal(UPSTREAM, **(variables | {"UPSTREAM_CREDENTIALS_KIND": "hunter"}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[auth.clients]\nhtpasswd = 'missing'\n" + "", "cannot read missing: No such file"),
        ("[auth.clients]\nallow_anonymous = true\n", "upstream.credentials.file: cannot read none: No such"),
    ],
)
def test_a_file_that_is_not_there_ends_the_start_with_its_name(tmp_path: Path, more: str, said: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[upstream.credentials]\nkind = 'file'\nfile = 'none'\n{more}")
    done = command("--upstream", "http://127.0.0.1:1", "--admin", "none", "--config", str(file))
    assert done.returncode == 1
    assert said in done.stderr


def test_true_is_no_number_and_no_text_while_text_is_both(tmp_path: Path) -> None:
    file = tmp_path / "proxy.toml"
    for path, section in settings().items():
        name = path.rpartition(".")[2]
        if section.model_fields[name].annotation is bool:
            continue
        table = path.rpartition(".")[0]
        file.write_text(f"[{table}]\n{name} = true\n" if table else f"{name} = true\n")
        with pytest.raises(ConfigError) as caught:
            load(UPSTREAM if path != "upstream.url" else {}, {}, file)
        assert re.search(
            rf"^{path} True is not allowed .*on or off|^{path} is not allowed .*on or off",
            str(caught.value),
            re.MULTILINE,
        ), path
    config = config_of(LIMITS_REQUESTS="7", CACHE_MEMORY="2 MiB", CACHE_TTL="1.5", AUTH_CLIENTS_ALLOW_ANONYMOUS="false")
    assert (config.limits.requests, config.cache.memory, config.cache.ttl) == (7, 2 * 2**20, 1.5)
