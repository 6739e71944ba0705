"""Several registries behind one proxy, as they are configured."""

import json
import re
from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, load

ROOT = Path(__file__).parents[4]
HARBOR = 'name = "harbor"\nurl = "http://harbor.lan:5001"\n'
HUB = 'name = "hub"\nurl = "https://registry-1.docker.io"\n'
LOGIN = '[upstream.credentials]\nkind = "static"\nusername = "servant"\npassword = "hunter2"\n'
USERS = '[auth.clients]\nhtpasswd = "/users"\n'
TOKENS = 'keys = "/keys"\nissuer = "tokens"\nrealm = "https://tokens.lan/"\naudience = '


def loaded(*tables: str, rest: str = "", above: str = "", directory: Path, **environment: str) -> Config:
    """Return the configuration of a file with `tables` as its [[upstream]], and `rest` behind them."""
    file = directory / "proxy.toml"
    file.write_text(above + "".join(f"[[upstream]]\n{one}" for one in tables) + rest)
    return load({}, {f"TWODFS_PROXY_{name}": value for name, value in environment.items()}, file)


def refused(*tables: str, rest: str = "", above: str = "", directory: Path, **environment: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(*tables, rest=rest, above=above, directory=directory, **environment)
    assert "hunter2" not in str(caught.value)
    return str(caught.value).replace(f"{directory}/", "")


def test_the_first_table_is_the_default_registry_or_the_one_that_says_so(tmp_path: Path) -> None:
    for tables in (
        (HARBOR, HUB),
        (HUB, HARBOR + "default = true\n"),
        (HUB + "default = false\n", HARBOR + "default = true\n"),
    ):
        config = loaded(*tables, directory=tmp_path)
        assert config.upstream.name == "harbor"
        assert [one.name for one in config.upstreams] == ["hub"]
        assert {name: one.upstream.url for name, one in config.others().items()} == {
            "hub": "https://registry-1.docker.io"
        }


def test_one_table_of_a_list_is_the_only_registry(tmp_path: Path) -> None:
    config = loaded('url = "http://harbor.lan:5001"\n' + LOGIN, rest=USERS, directory=tmp_path)
    assert config.upstream.urls == ("http://harbor.lan:5001",)
    assert config.upstream.credentials.username == "servant"
    assert not config.upstreams


def test_a_list_of_urls_is_one_registry_as_ever(tmp_path: Path) -> None:
    config = loaded(above='upstream = ["http://a:1", "http://b:2"]\n', directory=tmp_path)
    assert config.upstream.urls == ("http://a:1", "http://b:2")
    assert not config.upstreams


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('url = "http://b:1"\n', "each of several [[upstream]] needs a name"),
        ('name = "harbor"\nurl = "http://b:1"\n', "upstream.name harbor is that of two registries"),
        (
            'name = "hub"\nurl = "ftp://b"\n',
            "[[upstream]] hub: url 'ftp://b' is not allowed (file proxy.toml): expected http://host[:port] or",
        ),
        ('name = "hub"\n', "[[upstream]] hub: url is missing (file proxy.toml)"),
        (
            HUB + "max_conections = 1\n",
            "[[upstream]] hub: max_conections is not known (file proxy.toml); did you mean max_connections?",
        ),
        (HUB + 'prefix = "Hub"\n', "[[upstream]] hub: prefix 'Hub' is not allowed (file proxy.toml)"),
        (HUB + "default = 1\n", "proxy.toml: default of an [[upstream]] is true or false"),
        ('name = "Hub!"\nurl = "http://b:1"\n', "[[upstream]] Hub!: name 'Hub!' is not allowed"),
        ('name = 7\nurl = "http://b:1"\n', "the further [[upstream]] number 1: name 7 is not allowed"),
        (
            HUB + '[upstream.credentials]\nkind = "static"\npassword = "hunter2"\n',
            "[[upstream]] hub: credentials is not allowed (file proxy.toml): kind static needs username and password",
        ),
        (
            HUB + '[upstream.credentials]\nkind = "static"\npassword = ["hunter2"]\n',
            "[[upstream]] hub: credentials.password is not allowed (file proxy.toml): input should be a valid string",
        ),
        (
            HUB + '[upstream.credentials]\nkind = "static"\npassword = 73\ntokn = "hunter2"\n',
            "[[upstream]] hub: credentials.tokn is not known (file proxy.toml); did you mean credentials.token?",
        ),
        (
            HUB + LOGIN,
            "[[upstream]] hub: upstream.credentials let the proxy in for whoever asks it, so it must know its clients",
        ),
        (
            HUB + "[upstream.auth.clients]\nallow_anonymous = true\n",
            "[[upstream]] hub: auth.clients has no use without",
        ),
        (HUB + '[upstream.blobs]\nrelay = "auto"\n', "[[upstream]] hub: blobs.relay is not known"),
        (HUB + '[upstream.auth]\nttl = "soon"\n', "[[upstream]] hub: auth.ttl 'soon' is not allowed (file proxy.toml)"),
        (
            HUB + 'client_key = "/key"\n',
            "[[upstream]] hub is not allowed (file proxy.toml): client_key is the key of client_certificate, which is",
        ),
        (HUB + "workers = 2\n", "[[upstream]] hub: workers is not known (file proxy.toml)"),
    ],
)
def test_what_is_wrong_with_a_further_registry_is_said_with_its_name(second: str, said: str, tmp_path: Path) -> None:
    assert said in refused(HARBOR, second, directory=tmp_path)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ('prefix = "a/b"', 'prefix = "a/b"', "upstream.prefix a/b"),
        ('hosts = ["*.lan", "hub.lan"]', 'hosts = ["HUB.lan"]', "upstream.hosts hub.lan"),
        ('namespaces = ["ghcr.io"]', 'namespaces = ["GHCR.io", "quay.io"]', "upstream.namespaces ghcr.io"),
    ],
)
def test_what_tells_registries_apart_is_that_of_one(one: str, other: str, said: str, tmp_path: Path) -> None:
    heard = refused(f"{HARBOR}{one}\n", f"{HUB}{other}\n", directory=tmp_path)
    assert f"{said} is that of two registries; a request could be for either" in heard
    assert loaded(f"{HARBOR}{one}\n", HUB, directory=tmp_path).upstreams


def test_there_is_one_way_to_list_further_registries(tmp_path: Path) -> None:
    listed = 'upstreams = [{ name = "hub", url = "http://hub.lan" }]\n'
    heard = refused(HARBOR, HUB, above=listed, directory=tmp_path)
    assert heard == "proxy.toml: further registries are [[upstream]] or upstreams, not both"
    config = loaded(above=listed, rest='[upstream]\nname = "harbor"\nurl = "http://a:1"\n', directory=tmp_path)
    assert [one.name for one in config.upstreams] == ["hub"]
    assert "upstream is a URL, a table" in refused(above='upstream = ["http://a:1", {}]\n', directory=tmp_path)
    assert "default = true is for one" in refused(
        *(f"{one}default = true\n" for one in (HARBOR, HUB)), directory=tmp_path
    )


def test_flags_and_variables_of_upstream_are_for_the_default_one(tmp_path: Path) -> None:
    config = loaded(HARBOR, HUB, directory=tmp_path, UPSTREAM="http://c:1", UPSTREAM_READ_TIMEOUT="7")
    assert (config.upstream.name, config.upstream.url, config.upstream.read_timeout) == ("harbor", "http://c:1", 7)
    (hub,) = config.upstreams
    assert (hub.url, hub.read_timeout) == ("https://registry-1.docker.io", 300)


def test_the_environment_lists_all_further_registries_as_json(tmp_path: Path) -> None:
    quay = {"name": "quay", "url": "https://quay.io", "credentials": {"kind": "static", "token": "hunter2"}}
    quay["auth"] = {"clients": {"allow_anonymous": True}}
    config = loaded(HARBOR, HUB, directory=tmp_path, UPSTREAMS=json.dumps([quay]))
    assert [one.name for one in config.upstreams] == ["quay"]
    assert config.others()["quay"].controls_access
    assert "hunter2" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[{"name":"hub","password":"hunter2"', "upstreams is not allowed ({}): expected a JSON list of tables"),
        ('{"name":"hub","password":"hunter2"}', "upstreams is not allowed ({}): expected a JSON list of tables"),
        ("hunter2,hub", "upstreams is not allowed ({}): expected a JSON list of tables"),
        ('["hunter2"]', "the further [[upstream]] number 1 is not allowed ({}): input should be"),
        (
            '[{"name":"hub","url":"http://u:hunter2@b"}]',
            "[[upstream]] hub: url 'http://***@b' is not allowed ({}): expected no user or password",
        ),
        (
            '[{"name":"hub","url":"http://b","credentials":{"kind":"static","token":73}}]',
            "[[upstream]] hub: credentials.token is not allowed ({}): input should be a valid string",
        ),
    ],
)
def test_a_list_that_cannot_be_read_is_told_without_what_may_be_secret(written: str, said: str, tmp_path: Path) -> None:
    heard = refused(HARBOR, directory=tmp_path, UPSTREAMS=written)
    assert said.format("environment TWODFS_PROXY_UPSTREAMS") in heard


def test_there_are_64_registries_at_most(tmp_path: Path) -> None:
    tables = [f'name = "r{at}"\nurl = "http://r{at}.lan"\n' for at in range(65)]
    assert len(loaded(*tables[1:], directory=tmp_path).upstreams) == 63
    assert "upstreams is not allowed (file proxy.toml): tuple should have at most 63" in refused(
        *tables, directory=tmp_path
    )


def test_what_a_registry_may_be_redirected_to_is_its_own(tmp_path: Path) -> None:
    shared = '[blobs]\nredirect = "follow"\nrelay = "buffered"\n'
    shared += 'allowed_networks = ["10.0.0.0/8"]\nallowed_hosts = ["minio.lan"]\n'
    own = '[upstream.blobs]\nredirect = "pass"\nallowed_hosts = ["s3.lan"]\n'
    others = loaded(
        HARBOR, HUB, f'name = "quay"\nurl = "https://quay.io"\n{own}', rest=shared, directory=tmp_path
    ).others()
    hub, quay = others["hub"].blobs, others["quay"].blobs
    assert (hub.redirect, hub.relay, hub.allowed_networks, hub.allowed_hosts) == ("follow", "buffered", (), ())
    assert (quay.redirect, quay.relay, quay.allowed_networks, quay.allowed_hosts) == (
        "pass",
        "buffered",
        (),
        ("s3.lan",),
    )


def test_what_plain_tags_give_is_as_for_the_default_registry_unless_one_says_otherwise(tmp_path: Path) -> None:
    shared = '[partition]\nplain_tag = "default"\nmax_layers = 12\n'
    own = '[upstream.partition]\nplain_tag = "pass"\n'
    others = loaded(
        HARBOR, HUB, f'name = "quay"\nurl = "https://quay.io"\n{own}', rest=shared, directory=tmp_path
    ).others()
    assert {name: (one.partition.plain_tag, one.partition.max_layers) for name, one in others.items()} == {
        "hub": ("default", 12),
        "quay": ("pass", 12),
    }


def test_credentials_and_certificates_of_one_registry_are_no_others(tmp_path: Path) -> None:
    certificates = 'client_certificate = "/client.pem"\nca_file = "/ca.pem"\n'
    config = loaded(HARBOR + certificates + LOGIN, HUB, rest=USERS, directory=tmp_path)
    hub = config.others()["hub"]
    assert config.controls_access
    assert (hub.upstream.credentials.kind, hub.upstream.client_certificate, hub.upstream.ca_file) == (
        "none",
        None,
        None,
    )
    assert not hub.controls_access
    assert hub.auth.clients.htpasswd is None


def test_users_and_rules_are_for_every_registry_that_the_proxy_lets_clients_in_to(tmp_path: Path) -> None:
    rules = '[[auth.clients.rules]]\nusers = ["ann"]\nrepositories = ["**"]\nregistries = ["hub"]\n'
    config = loaded(HARBOR + LOGIN, HUB + LOGIN, rest=f"[auth]\nttl = 3\n{USERS}{rules}", directory=tmp_path)
    hub = config.others()["hub"].auth
    assert hub.clients == config.auth.clients
    assert hub.ttl == 3


def test_users_may_be_for_further_registries_alone(tmp_path: Path) -> None:
    config = loaded(HARBOR, HUB + LOGIN, rest=USERS, directory=tmp_path)
    assert not config.controls_access
    assert config.others()["hub"].auth.clients == config.auth.clients
    own = '[upstream.auth.clients]\nhtpasswd = "/others"\n'
    assert "auth.clients has no use without" in refused(HARBOR, HUB + LOGIN + own, rest=USERS, directory=tmp_path)
    assert "auth.clients has no use without" in refused(HARBOR, HUB, rest=USERS, directory=tmp_path)


def test_a_registry_with_users_of_its_own_has_no_others(tmp_path: Path) -> None:
    own = '[upstream.auth.clients]\nhtpasswd = "/others"\n'
    rules = '[[auth.clients.rules]]\nusers = ["ann"]\nrepositories = ["**"]\n'
    config = loaded(HARBOR + LOGIN, HUB + LOGIN + own, rest=f"[auth]\nttl = 3\n{USERS}{rules}", directory=tmp_path)
    hub = config.others()["hub"].auth
    assert str(hub.clients.htpasswd) == "/others"
    assert not hub.clients.rules
    assert hub.ttl == 3  # what its table does not say is as for the default registry


def test_who_did_not_log_in_gets_into_a_further_registry_by_name_alone(tmp_path: Path) -> None:
    """Else a private registry beside an open one would be open by default."""
    everyone = "[auth.clients]\nallow_anonymous = true\n"
    heard = refused(HARBOR + LOGIN, HUB + LOGIN, rest=everyone, directory=tmp_path)
    assert "[[upstream]] hub: upstream.credentials let the proxy in for whoever asks it" in heard
    for registries, lets_in in (("", False), ('registries = ["harbor"]\n', False), ('registries = ["hub"]\n', True)):
        rule = f'[[auth.clients.rules]]\nusers = ["anonymous"]\nrepositories = ["open/*"]\n{registries}'
        users = 'htpasswd = "/users"\n'
        config = loaded(HARBOR + LOGIN, HUB + LOGIN, rest=everyone + users + rule, directory=tmp_path)
        assert config.auth.clients.allow_anonymous
        assert config.others()["hub"].auth.clients.allow_anonymous is lets_in


def test_tokens_and_token_servers_of_one_registry_are_no_others(tmp_path: Path) -> None:
    rest = f'[auth]\nrealm = "proxy"\nrealm_hosts = ["tokens.lan"]\n[auth.token]\n{TOKENS}"harbor"\n'
    hub = loaded(HARBOR, HUB, rest=rest, directory=tmp_path).others()["hub"].auth
    assert (hub.realm, hub.realm_hosts, hub.token.keys) == ("proxy", (), None)
    heard = refused(HARBOR, HUB + LOGIN, rest=rest, directory=tmp_path)
    assert "[[upstream]] hub: upstream.credentials let the proxy in for whoever asks it" in heard


@pytest.mark.parametrize("credentials", [(LOGIN, LOGIN), (LOGIN, ""), ("", LOGIN)])
def test_a_token_for_one_registry_lets_nobody_in_to_another(credentials: tuple[str, str], tmp_path: Path) -> None:
    rest = f'[auth.token]\n{TOKENS}"shared"\n[auth.clients]\n'
    rest += "allow_anonymous = true\n" if credentials[0] else ""
    tables = [
        one + login + (f"[upstream.auth.token]\n{TOKENS}" if one is HUB else "")
        for one, login in zip((HARBOR, HUB), credentials, strict=True)
    ]
    heard = refused(tables[0], tables[1] + '"shared"\n', rest=rest, directory=tmp_path)
    assert "a token for harbor would be one for hub, too: give the auth.token of each an audience of its own" in heard
    assert loaded(tables[0], tables[1] + '"hub"\n', rest=rest, directory=tmp_path).upstreams


def test_tokens_that_two_registries_take_themselves_are_taken_for_both(tmp_path: Path) -> None:
    rest = f'[auth.token]\n{TOKENS}"shared"\n'
    own = f'[upstream.auth.token]\n{TOKENS}"shared"\n'
    assert loaded(HARBOR, HUB + own, rest=rest, directory=tmp_path).others()["hub"].auth.token.audience == "shared"


@pytest.mark.parametrize(
    ("tables", "known"),
    [((HARBOR + LOGIN, HUB), "harbor, hub"), (('url = "http://a:1"\n' + LOGIN,), "none has a name")],
)
def test_a_rule_for_a_registry_that_is_not_there_is_refused(
    tables: tuple[str, ...], known: str, tmp_path: Path
) -> None:
    rule = '[[auth.clients.rules]]\nusers = ["ann"]\nrepositories = ["**"]\nregistries = ["huub"]\n'
    heard = refused(*tables, rest=USERS + rule, directory=tmp_path)
    assert f"auth.clients.rules: no registry is called 'huub' (upstream.name: {known})" in heard


def test_the_example_of_three_registries_means_what_it_says(tmp_path: Path) -> None:
    shown = (ROOT / "config.example.toml").read_text().partition("# Several registries behind one proxy")[2]
    file = tmp_path / "proxy.toml"
    file.write_text("\n".join(line[4:] for line in shown.splitlines() if line.startswith("#   ")))
    config = load({}, {}, file)
    assert config.upstream.name == "harbor"
    hub, ghcr = config.others().values()
    assert (hub.upstream.name, hub.upstream.prefix) == ("hub", "hub")
    assert not hub.controls_access
    assert ghcr.controls_access
    assert ghcr.blobs.allowed_hosts == ("storage.example.org",)
    assert str(ghcr.auth.clients.htpasswd) == "/etc/twodfs/ghcr-users"


def test_the_page_shows_what_the_program_takes(tmp_path: Path) -> None:
    page = (ROOT / "docs/registries.md").read_text()
    example, rules = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "proxy.toml"
    file.write_text(example)
    (variable,) = re.findall(r"^TWODFS_PROXY_UPSTREAMS='(.*)'$", page, re.MULTILINE)
    config = load({}, {}, file)
    assert config.upstream.name == "harbor"
    assert config.others()["ghcr"].controls_access
    assert load({}, {"TWODFS_PROXY_UPSTREAMS": variable}, file).upstreams[0].prefix == "hub"
    login = 'name = "harbor"\nurl = "https://harbor.lan"\n' + LOGIN
    others = "".join(f'[[upstream]]\nname = "{name}"\nurl = "https://{name}.lan"\n{LOGIN}' for name in ("hub", "ghcr"))
    file.write_text(f"[[upstream]]\n{login}{others}{USERS}{rules}")
    (first, second) = load({}, {}, file).others()["hub"].auth.clients.rules
    assert not first.is_for("hub")
    assert second.is_for("hub")
