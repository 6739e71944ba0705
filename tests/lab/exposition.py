"""What a scraper sees of `/metrics`."""

import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Scrape:
    """The samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    @classmethod
    def of(cls, admin_url: str) -> "Scrape":
        return cls(fetch(admin_url)[0])

    def value(self, name: str, labels: Mapping[str, str] | None = None, **more: str) -> float:
        """Return one sample; 0 where it is not there yet."""
        return self._samples.get((name, tuple(sorted({**(labels or {}), **more}.items()))), 0.0)

    def total(self, name: str) -> float:
        """Return the sum over all labels."""
        return sum(value for (known, _), value in self._samples.items() if known == name)

    def series(self) -> dict[str, set[str]]:
        """Return the names of the labels of every series, by the series' name."""
        found: dict[str, set[str]] = {}
        for name, labels in self._samples:
            found.setdefault(name, set()).update(label for label, _ in labels)
        return found

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for known, labels in self._samples if known == name]


def fetch(admin_url: str, accept: str = "") -> tuple[str, str]:
    """Return the text of `/metrics` and its content type."""
    request = urllib.request.Request(f"{admin_url}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]
