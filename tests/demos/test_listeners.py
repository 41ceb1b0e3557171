"""A stream goes on as long as somebody reads it, and no faster."""

from types import SimpleNamespace

import pytest

from core import limits
from demos import listeners


def counting(length=100):
    """Return a stream and the list of what it has handed out; closing it is noted."""
    given = []

    def parts():
        try:
            for at in range(length):
                given.append(at)
                yield at
        finally:
            given.append("closed")

    return parts(), given


@pytest.fixture
def heard(monkeypatch):
    """Return a function that says how many parts wait to be read, in turn, and for ever the last."""

    def set_to(*counts):
        left = list(counts)
        monkeypatch.setattr(listeners, "unread", lambda: left.pop(0) if len(left) > 1 else left[0])

    return set_to


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when somebody sleeps, and by 0.1 seconds for every part."""
    now = SimpleNamespace(time=0.0, slept=0.0)

    def sleep(seconds):
        now.time += seconds
        now.slept += seconds

    def monotonic():
        return now.time

    monkeypatch.setattr(listeners, "time", SimpleNamespace(sleep=sleep, monotonic=monotonic))
    return now


def test_outside_a_queue_everything_is_handed_on():
    parts, given = counting()
    assert list(listeners.while_heard(parts)) == list(range(100)) and given[-1] == "closed"


def test_a_stream_that_is_closed_closes_what_it_hands_on():
    parts, given = counting()
    stream = listeners.while_heard(parts)
    next(stream), next(stream)
    stream.close()
    assert given == [0, 1, "closed"]


def test_a_stream_ends_when_its_reader_goes(heard):
    parts, given = counting()
    heard(0, 0, None)
    assert list(listeners.while_heard(parts)) == [0, 1, 2] and given[-1] == "closed"


def test_a_stream_waits_for_its_reader_and_goes_on(heard, clock):
    parts, _ = counting()
    heard(0, limits.UNREAD_PARTS, limits.UNREAD_PARTS, 3, 0)
    assert len(list(listeners.while_heard(parts))) == 100
    assert 0 < clock.slept < limits.UNHEARD_SECONDS


def test_a_stream_nobody_reads_ends_after_a_while(heard, clock):
    parts, given = counting()
    heard(*range(1, limits.UNREAD_PARTS), limits.UNREAD_PARTS)
    assert len(list(listeners.while_heard(parts))) == limits.UNREAD_PARTS and given[-1] == "closed"
    assert clock.slept == pytest.approx(limits.UNHEARD_SECONDS, abs=0.1)


def test_a_stream_of_slow_parts_that_nobody_reads_ends_too(heard, clock):
    def slow():
        for at in range(100):
            yield at
            clock.time += 2

    heard(*range(1, 100))
    assert len(list(listeners.while_heard(slow()))) == 2 + limits.UNHEARD_SECONDS // 2


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_part_may_take_longer_than_the_patience(heard, clock, waiting):
    def slow():
        for at in range(5):
            clock.time += 10 * limits.UNHEARD_SECONDS
            yield at

    heard(waiting)
    assert list(listeners.while_heard(slow())) == [0, 1, 2, 3, 4]
