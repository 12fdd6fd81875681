"""A study of tokens: a user's own data and embedding network, plain and private, on either engine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accord
from accord.config.schema import Study
from accord.core.errors import StudyError

TOKENS = {"name": "custom", "function": "rows:tokens"}
SAMPLE = {"unit": "sample", "noise_multiplier": 0.3, "delta": 1e-4}


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("privacy", [None, SAMPLE], ids=["plain", "sample"])
@pytest.mark.parametrize("network", ["with_embedding", "bag_of_tokens"])
def test_tokens_are_learned_from_alike_on_either_engine(
    small_study: Callable[..., Study], tmp_path: Path, network: str, privacy: dict[str, Any] | None
) -> None:
    runs = {}
    for engine in ("vectorised", "sequential"):
        study = small_study(
            data=TOKENS,
            partition={"name": "iid", "num_partitions": 2},
            model={"name": "custom", "function": f"networks:{network}"},
            training={"learning_rate": 2.0, "batch_size": 15, "local_epochs": 3, "dtype": "float64"},
            program={"name": "fedavg", "rounds": 3},
            privacy=privacy,
            fairness=None,
            engine={"name": engine},
        )
        runs[engine] = accord.run(study, tmp_path / engine)
    one, other = runs["vectorised"], runs["sequential"]
    assert one.result is not None
    for name, value in one.params.items():
        assert torch.allclose(value, other.params[name], rtol=1e-9, atol=1e-12)
    assert one.result["test"]["accuracy"] > (0.75 if privacy is None else 0.65)


def test_a_network_without_a_place_for_the_highest_token_is_refused(
    small_study: Callable[..., Study], tmp_path: Path
) -> None:
    model = {"name": "custom", "function": "networks:with_embedding", "settings": {"vocabulary": 9}}
    with pytest.raises(StudyError, match=r"no place for token 11, the highest of the data; .*12 or larger") as refused:
        accord.run(small_study(data=TOKENS, model=model, fairness=None), tmp_path / "run")
    assert "\n" not in str(refused.value)
    with pytest.raises(StudyError, match="takes numbers, but the data holds tokens"):
        accord.run(small_study(data=TOKENS, model="mlp", fairness=None), tmp_path / "run")
