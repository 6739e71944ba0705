from typing import Any

import pytest

from proxy.config import Config, load
from proxy.doctor.finding import Finding, Level, verdict
from proxy.doctor.settings import check_settings

UPSTREAM = {"upstream.url": "http://127.0.0.1:5001"}


def config(**settings: str) -> Config:
    given: dict[str, str | None] = {path.replace("__", "."): value for path, value in settings.items()}
    return load(UPSTREAM | given, {})


def test_the_defaults_fit_together() -> None:
    (finding,) = check_settings(config())
    assert finding == Finding("settings", Level.OK, "the settings fit together")


@pytest.mark.parametrize(
    ("settings", "level", "words"),
    [
        ({"upstream.url": "http://localhost:5000"}, Level.PROBLEM, "this proxy's own address"),
        (
            {
                "upstream.url": "http://[::1]:7000",
                "listen": "0.0.0.0:7000",
                "public_url": "https://r.example",
            },
            Level.PROBLEM,
            "this proxy's own address",
        ),
        ({"upstream.url": "http://registry.lan:5000"}, Level.WARNING, "in clear text"),
        ({"listen": "0.0.0.0:5000"}, Level.WARNING, "public_url is not set"),
        ({"listen": "0.0.0.0:5000", "public_url": "http://r.example"}, Level.WARNING, "in clear text"),
        ({"admin": "0.0.0.0:9464"}, Level.WARNING, "admin listener 0.0.0.0:9464 answers whoever"),
        ({"cache.tag_ttl": "300"}, Level.WARNING, "for 300 s after a look-up (cache.tag_ttl)"),
        ({"cache.recipe_days": "0.5"}, Level.WARNING, "cache.recipe_days is shorter than cache.ttl"),
        ({"shutdown_grace": "1"}, Level.WARNING, "cut off 1 s after SIGTERM"),
        ({"upstream.metadata_timeout": "2"}, Level.WARNING, "shorter than upstream.connect_timeout"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict[str, Any], level: Level, words: str) -> None:
    (finding,) = check_settings(load(UPSTREAM | settings, {}))
    assert finding.level is level
    assert words in finding.sentence
    assert finding.advice


def test_settings_of_each_registry_are_looked_at_and_named() -> None:
    hub = '[{"name": "hub", "url": "http://hub.lan", "metadata_timeout": 1}]'
    findings = check_settings(load(UPSTREAM | {"upstream.name": "harbor", "upstreams": hub}, {}))
    assert [one.registry for one in findings] == ["hub", "hub"]
    clear, timeout = findings
    assert clear.sentence == "credentials travel to http://hub.lan in clear text"
    assert "metadata_timeout is shorter" in timeout.sentence
    assert clear.as_dict()["registry"] == "hub"
    ill = load(UPSTREAM | {"upstream.url": "http://a.lan"}, {})
    assert "registry" not in check_settings(ill)[0].as_dict()


def test_a_registry_on_the_proxys_port_of_another_machine_is_no_loop() -> None:
    settings = {"upstream.url": "https://registry.lan:5000", "listen": "127.0.0.1:5000"}
    assert verdict(check_settings(load(settings, {}))) is Level.OK


def test_the_verdict_is_the_worst_that_was_found() -> None:
    findings = [Finding("a", level, "") for level in (Level.OK, Level.SKIPPED, Level.WARNING)]
    assert verdict(findings[:2]) is Level.OK
    assert verdict(findings) is Level.WARNING
    assert verdict([*findings, Finding("a", Level.PROBLEM, "")]) is Level.PROBLEM
