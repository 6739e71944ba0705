import subprocess
import sys
import time

from benchmarks.evaluation.measuring.meter import Meter, tree_seconds

# With the first line of its input, or its end, it has so many bytes of memory and works for so many seconds of
# processor time; the end of its input is its own.
_PROGRAM = """
import sys, time
sys.stdin.readline()
held = b"x" * int(sys.argv[1])
end = time.process_time() + float(sys.argv[2])
while time.process_time() < end: pass
print("done", flush=True)
sys.stdin.read()
"""
_BYTES = 60_000_000


def argv(held: int, seconds: float) -> list[str]:
    return [sys.executable, "-c", _PROGRAM, str(held), str(seconds)]


def test_a_program_counts_with_those_below_it() -> None:
    below = f"import subprocess, sys; subprocess.run({argv(_BYTES, 0.3)}, stdin=subprocess.DEVNULL)"
    with Meter() as used:
        subprocess.run([sys.executable, "-c", below], check=True)
    assert 0.29 <= used.cpu_seconds < 3
    assert _BYTES <= used.peak_bytes < 2 * _BYTES
    assert used.seconds >= 0.3


def test_a_program_that_has_not_begun_has_no_memory_of_ours() -> None:
    ours = bytearray(b"x") * 200_000_000
    with Meter() as used:
        for _ in range(20):
            subprocess.run(["true"], check=True)
    assert used.peak_bytes < len(ours)


def test_a_server_counts_for_the_span_alone() -> None:
    with (
        subprocess.Popen(argv(_BYTES, 0.4), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
        subprocess.Popen(argv(1, 0), stdin=subprocess.PIPE) as other,
    ):
        with Meter([server.pid]) as used:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write(b"\n")
            server.stdin.flush()
            server.stdout.readline()
        assert 0.39 <= used.cpu_seconds < 3
        assert _BYTES <= used.peak_bytes < 2 * _BYTES
        with Meter([server.pid]) as idle:
            time.sleep(0.05)  # in which nothing happens: it waits for its input
        assert idle.cpu_seconds < 0.05
        with Meter([other.pid]) as others:
            pass
        assert others.peak_bytes < _BYTES
        for process in (server, other):
            process.communicate(b"")


def test_programs_can_be_left_out() -> None:
    with Meter(programs=False) as used:
        subprocess.run(argv(_BYTES, 0.1), stdin=subprocess.DEVNULL, check=True)
    assert (used.cpu_seconds, used.peak_bytes) == (0, 0)
    assert used.seconds >= 0.1


def test_what_ended_counts_where_its_parent_waited() -> None:
    below = f"import subprocess, sys; subprocess.run({argv(1, 0.2)}, stdin=subprocess.DEVNULL); print(); input()"
    with subprocess.Popen([sys.executable, "-c", below], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.stdout.readline()
        assert tree_seconds(parent.pid) >= 0.18
        parent.communicate(b"\n")
    assert tree_seconds(parent.pid) == 0
