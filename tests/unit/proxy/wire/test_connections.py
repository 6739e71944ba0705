import resource

from proxy.wire.connections import ClientConnections


class Fake:
    """A connection without a socket."""

    def __init__(self) -> None:
        self.is_idle = True
        self.gave_way = False

    def give_way(self) -> None:
        self.gave_way = True


def test_the_one_that_has_been_idle_longest_gives_way() -> None:
    connections = ClientConnections(3)
    first, second, third, fourth, fifth = (Fake() for _ in range(5))
    assert all(connections.opened(one) for one in (first, second, third))
    connections.busy(first)
    connections.idle(first)  # now the youngest of the idle
    assert connections.opened(fourth)
    assert connections.opened(fifth)
    assert [one.gave_way for one in (first, second, third, fourth, fifth)] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_no_busy_connection_gives_way() -> None:
    connections = ClientConnections(2)
    first, second, third = Fake(), Fake(), Fake()
    assert connections.opened(first)
    assert connections.opened(second)
    connections.busy(first)
    second.is_idle = False  # its answer is still being sent
    assert not connections.opened(third)
    connections.closed(first)
    assert connections.opened(third)


def test_one_that_is_closed_does_not_become_idle_again() -> None:
    connections = ClientConnections(1)
    first, second = Fake(), Fake()
    assert connections.opened(first)
    connections.busy(first)
    connections.closed(first)
    connections.idle(first)
    assert connections.opened(second)
    assert connections.opened(Fake())
    assert (first.gave_way, second.gave_way) == (False, True)


def test_there_is_room_for_as_many_as_files_may_be_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        connections = ClientConnections(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    opened = [Fake() for _ in range(100)]
    assert all(connections.opened(one) for one in opened)
    assert sum(one.gave_way for one in opened) == 36
