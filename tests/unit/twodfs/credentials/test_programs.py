import sys
import tracemalloc

import pytest

from twodfs.credentials.programs import MAX_BYTES, ConversationError, converse


def test_an_answer_is_heard_with_what_is_said_beside_it_and_the_status() -> None:
    said = converse(["sh", "-c", "cat; echo beside >&2; exit 3"], b"told", seconds=60)
    assert (said.stdout, said.stderr, said.returncode) == (b"told", b"beside\n", 3)


def test_much_is_told_and_heard_at_the_same_time() -> None:
    told = b"x" * MAX_BYTES
    assert converse(["cat"], told, seconds=60).stdout == told


def test_a_program_need_not_listen() -> None:
    assert converse(["sh", "-c", "exec <&-; echo heard"], b"x" * 500_000, seconds=60).stdout == b"heard\n"


@pytest.mark.parametrize("where", ["1", "2"])
def test_a_program_that_talks_for_ever_is_ended_and_not_kept(where: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ConversationError, match=f"printed more than {MAX_BYTES} bytes"):
            converse(["sh", "-c", f"exec yes >&{where}"], b"", seconds=60)
        assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("script", ["exec sleep 600", "exec >&- 2>&-; exec sleep 600", "sleep 600 & exit 0"])
def test_a_program_that_does_not_end_is_ended(script: str) -> None:
    with pytest.raises(ConversationError, match=r"took more than 0\.2 seconds"):
        converse(["sh", "-c", script], b"", seconds=0.2)


def test_a_program_that_drips_is_ended() -> None:
    drip = "import time\nwhile True: print('.', end='', flush=True); time.sleep(0.01)"
    with pytest.raises(ConversationError, match=r"took more than 0\.5 seconds"):
        converse([sys.executable, "-c", drip], b"", seconds=0.5)
