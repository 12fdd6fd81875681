"""A tracker that fails or hangs costs a line on stderr, and the run nothing."""

import threading

import pytest

from accord.records.round_record import RoundRecord
from accord.records.trackers.aside import Aside
from records.trackers.standins import record_of


class Listener:
    """Keeps what it is told; fails in a round or at the end where asked to."""

    def __init__(self, fails_in: int = 0, fails_at_end: bool = False) -> None:
        self.told: list[int] = []
        self.threads: set[int] = set()
        self.closed = False
        self.fails_in, self.fails_at_end = fails_in, fails_at_end

    def round(self, record: RoundRecord) -> None:
        self.threads.add(threading.get_ident())
        if record.round == self.fails_in:
            raise RuntimeError("the server said:\n  no")
        self.told.append(record.round)

    def close(self) -> None:
        self.closed = True
        if self.fails_at_end:
            raise ConnectionError("reset")


def test_rounds_are_told_in_order_from_one_other_thread(capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listener()
    tracker = Aside("x", lambda: listener)
    for number in range(1, 40):
        tracker.round(record_of(number))
    tracker.close()
    assert listener.told == list(range(1, 40))
    assert listener.closed
    assert len(listener.threads - {threading.get_ident()}) == len(listener.threads) == 1
    assert capsys.readouterr() == ("", "")


def test_a_failure_is_one_line_and_the_last_thing_heard(capsys: pytest.CaptureFixture[str]) -> None:
    listener = Listener(fails_in=2)
    tracker = Aside("x", lambda: listener)
    for number in range(1, 9):
        tracker.round(record_of(number))
    tracker.close()
    tracker.round(record_of(9))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("accord: tracker x failed (RuntimeError: the server said: no); the run goes on without it\n")
    assert 9 not in listener.told


def test_a_tracker_that_cannot_start_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def start() -> Listener:
        raise OSError("no route to host")

    tracker = Aside("x", start)
    for number in (1, 2, 3):
        tracker.round(record_of(number))
    tracker.close()
    assert capsys.readouterr().err.count("\n") == 1


def test_a_failure_at_the_end_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Aside("x", lambda: Listener(fails_at_end=True))
    tracker.round(record_of(1))
    tracker.close()
    assert "ConnectionError: reset" in capsys.readouterr().err


def test_one_that_hangs_delays_neither_a_round_nor_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    free = threading.Event()

    class Hanging(Listener):
        def round(self, record: RoundRecord) -> None:
            free.wait(20)

    tracker = Aside("x", Hanging, patience=0.05)
    try:
        for number in (1, 2, 3):
            tracker.round(record_of(number))
        tracker.close()
    finally:
        free.set()
    assert capsys.readouterr().err == "accord: tracker x is not done after 0.05 s; the run goes on without it\n"


def test_a_failed_start_is_told_at_the_next_round(capsys: pytest.CaptureFixture[str]) -> None:
    def start() -> Listener:
        raise OSError("no " + "x" * 400)

    tracker = Aside("x", start)
    tracker._tracker.exception(20)
    tracker.round(record_of(1))
    message = "no " + "x" * 297
    assert capsys.readouterr().err == f"accord: tracker x failed (OSError: {message}); the run goes on without it\n"
    tracker.close()
    assert capsys.readouterr().err == ""


def test_an_error_without_a_text_is_told_by_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    def start() -> Listener:
        raise TimeoutError

    Aside("x", start).close()
    assert capsys.readouterr().err == "accord: tracker x failed (TimeoutError); the run goes on without it\n"


def test_a_round_waits_for_the_one_before() -> None:
    later = threading.Event()

    class Slow(Listener):
        def round(self, record: RoundRecord) -> None:
            later.wait(0.3) if record.round == 1 else later.set()
            super().round(record)

    listener = Slow()
    tracker = Aside("x", lambda: listener)
    tracker.round(record_of(1))
    tracker.round(record_of(2))
    tracker.close()
    assert listener.told == [1, 2]


@pytest.mark.parametrize("fails_in", [0, 1])
def test_its_thread_ends_with_the_run(fails_in: int) -> None:
    tracker = Aside("ending", lambda: Listener(fails_in))
    tracker.round(record_of(1))
    tracker.close()
    for thread in threading.enumerate():
        if thread.name.startswith("tracker-ending"):
            thread.join(20)
            assert not thread.is_alive()
