import math
from collections.abc import Callable

import pytest

from accord.core.checks import non_negative, open_unit, positive, probability

TINY = math.ulp(0.0)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (positive, [TINY, 1, 1e300], [0, -0.0, -1, math.inf, -math.inf, math.nan]),
        (non_negative, [0, -0.0, TINY, 3], [-TINY, -1, math.inf, math.nan]),
        (probability, [0, -0.0, 0.5, 1], [-TINY, math.nextafter(1, 2), math.inf, -math.inf, math.nan]),
        (open_unit, [TINY, 0.5, math.nextafter(1, 0)], [0, 1, -1, 2, math.inf, math.nan]),
    ],
)
def test_what_each_check_lets_through(check: Callable[..., None], good: list[float], bad: list[float]) -> None:
    for value in good:
        check(value=value)
    for value in bad:
        with pytest.raises(ValueError, match=r"^value must .*, got "):
            check(value=value)


def test_the_message_names_the_argument_at_fault() -> None:
    with pytest.raises(ValueError, match=r"^sampling_rate must lie in \[0, 1\], got 1.5$"):
        probability(other=0.5, sampling_rate=1.5)


def test_no_arguments_is_no_complaint() -> None:
    positive()
