"""The dashboard, the alerts and the scrape configuration, read by Prometheus' own tool."""

import contextlib
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.metrics.catalogue import REQUESTS
from proxy.metrics.instruments import CATALOGUE
from tests.deploy.cases import UPSTREAM
from tests.lab import command, helm
from tests.lab.exposition import Scrape
from tests.lab.helm import CHART
from tests.lab.images import push_field_image
from tests.lab.peers import require
from tests.lab.programs import environment, program
from tests.lab.proxy import Proxy
from tests.lab.redis import Redis
from tests.lab.registry import Registry
from tests.lab.registry_client import RegistryClient

HERE = Path(__file__).parent
DEPLOY = HERE.parents[1] / "deploy"
ALERTS = CHART / "files" / "alerts.yaml"
DASHBOARD = CHART / "files" / "dashboard.json"
# What Prometheus adds to every series, in a cluster as well.
ADDED = {"job", "instance", "namespace"}
REGISTRIES = """
[[upstream]]
name = "main"
url = "{url}"

[[upstream]]
name = "hub"
url = "{again}"
prefix = "hub"
"""
_METRIC = re.compile(r"\b(?:twodfs_proxy|process)_\w+")
_SELECTOR = re.compile(r"\b((?:twodfs_proxy|process)_\w+)\{([^}]*)\}")
# For who asks what runs, or which repository is pulled.
_NOT_SHOWN = {"twodfs_proxy_build_info", "twodfs_proxy_repository_requests_total"}
_GROUPING = re.compile(r"\bby \(([^)]*)\)")


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


def expressions() -> list[str]:
    """Return every PromQL expression of the dashboard and the alerts."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [*panels, *(rule["expr"] for group in groups for rule in group["rules"])]


def promtool(*arguments: str) -> str:
    return command.run((program("promtool"), *arguments), environment())


def test_the_scrape_configuration_loads() -> None:
    require("promtool")
    assert "SUCCESS" in promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    require("promtool")
    shutil.copy(ALERTS, tmp_path / "alerts.yaml")
    shutil.copy(HERE / "alerts_test.yaml", tmp_path / "test.yaml")
    assert "SUCCESS" in promtool("test", "rules", str(tmp_path / "test.yaml"))


@pytest.mark.parametrize("values", ["0x30", "1x5 stale"])
def test_the_charts_alert_knows_the_job_of_its_own_release(values: str, tmp_path: Path) -> None:
    """Whatever its names are, and though another release is well."""
    require("promtool")
    named = ("nameOverride=partitions", "namespaceOverride=ml")
    on = ("serviceMonitor.enabled=true", "prometheusRule.enabled=true")
    rendered = helm.manifests(helm.template(settings=[UPSTREAM, *named, *on]))
    (endpoint,) = helm.find(rendered, "ServiceMonitor", "models-partitions")["spec"]["endpoints"]
    (job,) = (one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job")
    rules = helm.find(rendered, "PrometheusRule", "models-partitions")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    well = [f'up{{job="{one}",namespace="{space}"}}' for one, space in ((job, "other"), ("other", "ml"))]
    summary = f"No replica of {job} answers Prometheus"
    fired = {
        "exp_labels": {"severity": "critical", "job": job, "namespace": "ml"},
        "exp_annotations": {"summary": summary, "description": description("TwodfsProxyGone")},
    }
    test = {
        "interval": "1m",
        "input_series": [
            {"series": f'up{{job="{job}",namespace="ml",instance="a"}}', "values": values},
            *({"series": one, "values": "1x30"} for one in well),
        ],
        "alert_rule_test": [{"eval_time": "20m", "alertname": "TwodfsProxyGone", "exp_alerts": [fired]}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": [test]}))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def description(alert: str) -> str:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    (rule,) = (rule for group in groups for rule in group["rules"] if rule["alert"] == alert)
    return str(rule["annotations"]["description"])


def test_every_alert_is_tested() -> None:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    firing = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    assert firing == {rule["alert"] for group in groups for rule in group["rules"]}


def test_every_expression_of_the_dashboard_parses(tmp_path: Path) -> None:
    require("promtool")
    rules = [
        {
            "record": f"panel:{at}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$__range", "6h"),
        }
        for at, expression in enumerate(expressions())
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))


@pytest.fixture(scope="module")
def exported(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every series that an edge node of two registries shows after a pull and failures, by its name."""
    image = push_field_image(registry.url, "monitored/model", "v1", cells={(0, 0): {"a": b"1"}})
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis.start(tmp_path_factory.mktemp("redis")))
        directory = tmp_path_factory.mktemp("proxy")
        shared = {
            "TWODFS_PROXY_CACHE_REDIS_URL": redis.url,
            "TWODFS_PROXY_EDGE_DIRECTORY": str(directory / "edge"),
        }
        both = REGISTRIES.format(url=registry.url, again=registry.url.replace("127.0.0.1", "localhost"))
        proxy = stack.enter_context(Proxy.start(directory, registry.url, config=both, environment=shared))
        client = stack.enter_context(RegistryClient(proxy.url))
        for repository in (image.repository, f"hub/{image.repository}"):
            assert client.get_manifest(repository, "v1--0.0.0.0").status == 200
            assert client.get_manifest(repository, "v1--7.7.7.7").status == 404
            assert client.request("GET", f"/v2/{repository}/blobs/{nowhere()}").status == 404
        scrape = Scrape.of(proxy.admin_url)
    return scrape.series()


def nowhere() -> str:
    return f"sha256:{hashlib.sha256(b'nowhere').hexdigest()}"


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_only_what_is_exported(expression: str, exported: dict[str, set[str]]) -> None:
    named = set(_METRIC.findall(expression))
    assert named <= exported.keys()
    for metric, selector in _SELECTOR.findall(expression):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
        assert labels <= exported[metric] | ADDED, metric
    known = ADDED.union(*(exported[metric] for metric in named))
    for grouping in _GROUPING.findall(expression):
        assert {label.strip() for label in grouping.split(",")} <= known


def test_an_alert_asks_for_kinds_of_requests_that_there_are() -> None:
    kinds = {kind for one in expressions() for kind in re.findall(r'kind="(\w+)"', one)}
    assert kinds
    assert kinds <= set(re.findall(r"\w+", REQUESTS.meaning.partition("kind: ")[2].partition(".")[0]))


def test_every_metric_of_ours_is_shown() -> None:
    shown = {name.removesuffix("_bucket") for one in expressions() for name in _METRIC.findall(one)}
    assert {name for name in CATALOGUE if name.startswith("twodfs_proxy_")} - shown == _NOT_SHOWN


def test_the_alerts_are_tested_with_series_that_are_exported(exported: dict[str, set[str]]) -> None:
    tests = yaml.safe_load((HERE / "alerts_test.yaml").read_text())["tests"]
    for written in (series["series"] for test in tests for series in test["input_series"]):
        name, _, labels = written.partition("{")
        if name != "up":  # Prometheus' own
            assert set(re.findall(r"(\w+)=", labels)) <= exported[name] | ADDED, written


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@pytest.mark.parametrize(
    ("link", "source"), [("grafana/dashboard.json", DASHBOARD), ("prometheus/alerts.yaml", ALERTS)]
)
def test_there_is_one_source(link: str, source: Path) -> None:
    assert (DEPLOY / link).resolve() == source.resolve()
