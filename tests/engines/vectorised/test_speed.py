"""Settings of speed are checked where they are made."""

import pytest

from accord.engines.vectorised.speed import Speed


def test_numbers_are_positive() -> None:
    assert Speed(threads=2, chunk_size=3).chunk_size == 3
    with pytest.raises(ValueError, match="threads"):
        Speed(threads=0)
    with pytest.raises(ValueError, match="chunk_size"):
        Speed(chunk_size=-1)
