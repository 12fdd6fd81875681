"""What malicious clients send is tested in test_attacks.py, with the engine that sends it. Here, refusals."""

import pytest

from accord.program.forgeries import inner_product


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be > 0"):
        inner_product(0.0)
