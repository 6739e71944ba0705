import json
import logging
from collections.abc import Iterator
from unicodedata import category

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from proxy import stderr
from proxy.config import LogConfig
from proxy.logs import AccessLine, bind_user, configure, get_logger
from proxy.wire.responses import oci_errors
from twodfs.cli.console import print_json, say
from twodfs.printable import LAYOUT, printable
from twodfs.registry.message import _printable

HOSTILE = "a\x9b31mb\u202ec\u2066d\u200be\u2028f\x7fg\U000e0041h\x00"
UNSEEN = {"Cc", "Cf", "Zl", "Zp"}


def is_shown_as_it_is(text: str) -> bool:
    return all(category(one) not in UNSEEN for one in text if one not in LAYOUT)


@given(st.text())
def test_nothing_that_moves_or_hides_is_left_and_all_else_is(text: str) -> None:
    shown = printable(text)
    assert is_shown_as_it_is(shown)
    assert not set(shown) & set(LAYOUT)
    if is_shown_as_it_is(text) and not set(text) & set(LAYOUT):
        assert shown == text


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5))
def test_escaped_json_is_the_same_document(document: object) -> None:
    written_out = json.dumps(document, ensure_ascii=False, indent=1)
    assert json.loads(printable(written_out, kept=LAYOUT)) == document


def test_the_words_of_others_are_safe_wherever_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say(HOSTILE)
    print_json({"said": HOSTILE})
    out = capsys.readouterr().out
    assert is_shown_as_it_is(out)
    assert json.loads(out.split("\n", 1)[1]) == {"said": HOSTILE}
    assert is_shown_as_it_is(_printable(HOSTILE, 500))
    document = oci_errors("UNKNOWN", HOSTILE).decode()
    assert is_shown_as_it_is(document)
    assert "\\\\u202e" in document


@pytest.fixture
def own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers.copy(), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize("style", ["json", "console"])
def test_lines_of_the_log_have_no_raw_control_character(capfd: pytest.CaptureFixture[str], style: str) -> None:
    config = LogConfig(format=style)
    configure(config)
    bind_user(HOSTILE)
    get_logger().warning("refused", reason=HOSTILE, trace=f"one\n{HOSTILE}")
    AccessLine(config).write(kind="blob", method="GET", path=f"/v2/{HOSTILE}", status=404, seconds=0, remote=None)
    bind_user(None)
    stderr.flush(30)
    lines = capfd.readouterr().err
    assert lines.count("31mb") >= 4
    assert is_shown_as_it_is(lines)
