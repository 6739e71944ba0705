from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.metrics import catalogue
from proxy.metrics.exposition import render
from proxy.metrics.instruments import CATALOGUE, Counter, Gauge, Histogram, Meter, add_up, snapshot
from proxy.repository import DEFAULT_UPSTREAM, Repository
from tests.lab.exposition import OPENMETRICS, Scrape


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """An empty catalogue, for metrics of a test alone."""
    before = dict(CATALOGUE)
    CATALOGUE.clear()
    yield dict(CATALOGUE)
    CATALOGUE.clear()
    CATALOGUE.update(before)
    monkeypatch.undo()


@pytest.mark.usefixtures("fresh")
def test_processes_add_up_and_the_ended_keep_what_they_counted() -> None:
    counter, spread = Counter("c_total", "", "of"), Histogram("h", "", bounds=(1, 2))
    gauge, least = Gauge("g", ""), Gauge("up", "", joined=min)
    counter.of("a").add(3)
    spread.of().observe(0.5)
    spread.of().observe(9)
    with gauge.read_from(lambda: 5), least.read_from(lambda: 1):
        one = snapshot()
    counter.of("b").add(1)
    spread.of().observe(1)
    with gauge.read_from(lambda: 2), least.read_from(lambda: 0):
        other = snapshot()
    total = add_up([one, other], [one])
    assert {tuple(labels): value for labels, value in total["c_total"]} == {("a",): 9, ("b",): 1}
    assert total["h"] == [[[], [[4, 0, 3], 29.5, {}]]]
    assert total["g"] == [[[], 7]], "of running processes alone"
    assert total["up"] == [[[], 0]]
    assert add_up([], [total]) == add_up([], [add_up([], [total])]), "folded again and again"


@pytest.mark.usefixtures("fresh")
def test_a_meter_is_read_like_a_gauge_and_added_up_like_a_counter() -> None:
    meter = Meter("cpu_total", "")
    with meter.read_from(lambda: 2), meter.read_from(lambda: 3):
        state = snapshot()
    assert state["cpu_total"] == [[[], 5]]
    assert snapshot()["cpu_total"] == []
    assert add_up([state], [state])["cpu_total"] == [[[], 10]]


@pytest.mark.usefixtures("fresh")
def test_a_bound_belongs_to_its_bucket_and_buckets_accumulate() -> None:
    Histogram("h", "", bounds=(0.5, 1)).of().observe(1)
    text, _ = render(snapshot(), "")
    seen = Scrape(text.decode())
    assert [seen.value("h_bucket", le=bound) for bound in ("0.5", "1.0", "+Inf")] == [0, 1, 1]
    assert (seen.value("h_sum"), seen.value("h_count")) == (1, 1)


@pytest.mark.usefixtures("fresh")
def test_the_latest_trace_of_each_bucket_is_its_exemplar_in_openmetrics_alone() -> None:
    spread = Histogram("h", "meaning", bounds=(1,)).of()
    spread.observe(0.1, "a" * 32)
    spread.observe(0.2, "b" * 32)
    spread.observe(5)
    first, second = snapshot(), snapshot()
    state = add_up([first, second])
    text = render(state, OPENMETRICS)[0].decode()
    assert f'h_bucket{{le="1.0"}} 4.0 # {{trace_id="{"b" * 32}"}} 0.2 ' in text
    assert text.count("trace_id") == 1
    assert "trace_id" not in render(state, "")[0].decode()


@pytest.mark.usefixtures("fresh")
def test_the_default_registry_is_in_no_label_and_others_are() -> None:
    counted, spread, current = (
        Counter("c", "", "a", "upstream"),
        Histogram("h", "", "upstream"),
        Gauge("g", "", "upstream"),
    )
    counted.of("x", "").add()
    counted.of("x").add()
    counted.of("x", "hub").add()
    spread.of("").observe(1)
    spread.of("hub").observe(1)
    with current.read_from(lambda: 1, ""), current.read_from(lambda: 2, "hub"):
        text = render(add_up([snapshot(), snapshot()]), "")[0].decode()
    lines = text.splitlines()
    for line in (
        'c_total{a="x"} 4.0',
        'c_total{a="x",upstream="hub"} 2.0',
        "h_count 2.0",
        'h_count{upstream="hub"} 2.0',
        "g 2.0",
        'g{upstream="hub"} 4.0',
    ):
        assert line in lines
    assert 'upstream=""' not in text


def test_methods_and_statuses_that_nobody_knows_share_a_label() -> None:
    for method, status in (("GET", 200), ("BREW", 418), ("X" * 500, 799), ("GET", 701)):
        catalogue.count_request("bounded", method, status, 0.001)
    labels = [labels for labels, _ in catalogue.REQUESTS.series() if labels[0] == "bounded"]
    assert labels == [
        ["bounded", "GET", "200"],
        ["bounded", "OTHER", "418"],
        ["bounded", "OTHER", "7xx"],
        ["bounded", "GET", "7xx"],
    ]


def test_repositories_are_counted_where_a_pattern_names_them_and_up_to_a_number() -> None:
    silent = catalogue.Repositories(())
    silent.count(Repository(DEFAULT_UPSTREAM, "a/b"), "silent")
    named = catalogue.Repositories(("lib/*", "exact.name"))
    for repository in ("lib/a", "lib/b/c", "exact.name", "exactXname", "other/lib/a"):
        named.count(Repository(DEFAULT_UPSTREAM, repository), "named")
    named.count(Repository("hub", "lib/a"), "of-hub")
    for at in range(1100):
        named.count(Repository(DEFAULT_UPSTREAM, f"lib/{at}"), "many")
    seen = [tuple(labels) for labels, _ in catalogue.REPOSITORY_REQUESTS.series()]
    assert {labels[0] for labels in seen if labels[1:] == ("named",)} == {"lib/a", "lib/b/c", "exact.name"}
    assert [labels for labels in seen if labels[1] == "of-hub"] == [("lib/a", "of-hub", "hub")]
    assert not [labels for labels in seen if labels[1] == "silent"]
    many = [labels[0] for labels in seen if labels[1] == "many"]
    assert "OTHER" in many
    assert len(many) <= 1001


def test_the_documentation_has_every_metric() -> None:
    written = Path(__file__).parents[4] / "docs" / "observability.md"
    assert catalogue.markdown() in written.read_text()
