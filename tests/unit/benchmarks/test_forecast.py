from benchmarks.fleet.forecast import BUSY, WITHIN, forecast


def test_needs_follow_from_processor_time_and_are_rounded_up() -> None:
    needs = list(forecast(10_000, proxy_cpu=0.002, registry_requests=7, registry_cpu=0.001))
    assert [one["seconds"] for one in needs] == list(WITHIN)
    within_10 = needs[0]
    assert within_10["pulls_per_second"] == 1000
    assert within_10["proxy_processes"] == 3  # two cores of work, each used to 70 %
    assert within_10["registry_requests_per_second"] == 7000
    assert within_10["registry_cores"] == round(7 / BUSY, 2)
    assert needs[-1]["proxy_processes"] == 1
