from benchmarks.evaluation.parts.windows import DEVICES, WINDOW, tags


def test_each_device_has_a_window_of_its_own() -> None:
    windows = tags()
    assert len(set(windows)) == DEVICES
    assert windows[0] == f"v1--0.0.0.{WINDOW - 1}"
