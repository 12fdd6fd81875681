"""A stopwatch's stages add up, nested stages apart, over threads."""

import time
from concurrent.futures import ThreadPoolExecutor

from accord.core.timing import STAGES, Stopwatch, untimed


def test_time_in_a_nested_stage_belongs_to_it_alone() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    with watch("local training"):
        time.sleep(0.02)
        for _ in range(2):
            with watch("noise"):
                time.sleep(0.02)
    whole = time.perf_counter() - began
    seconds = watch.seconds
    assert set(seconds) == {"local training", "noise"} <= set(STAGES)
    assert seconds["noise"] >= 0.04
    assert seconds["local training"] >= 0.02
    assert sum(seconds.values()) <= whole


def test_threads_add_up() -> None:
    watch = Stopwatch()

    def work(_: int) -> None:
        with watch("data"):
            time.sleep(0.02)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert watch.seconds["data"] >= 8 * 0.02


def test_a_stage_that_fails_is_timed_and_fails() -> None:
    watch = Stopwatch()
    try:
        with watch("records"):
            raise ValueError("disk")
    except ValueError:
        pass
    assert list(watch.seconds) == ["records"]


def test_untimed_does_nothing() -> None:
    with untimed("noise"), untimed("noise"):
        pass
