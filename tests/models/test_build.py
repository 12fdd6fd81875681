from typing import Any, get_args

import pytest
import torch

from accord.config.model import CustomModel, Model
from accord.errors import StudyError
from accord.models.build import NETWORKS, build

IMAGE = (1, 28, 28)
OPTIONS: dict[str, dict[str, Any]] = {
    "logistic": {},
    "mlp": {"hidden": (8,)},
    "tfp_cnn": {},
    "mcmahan_cnn": {},
    "custom": {"function": "accord.models.dense:mlp", "settings": {"hidden": [8]}},
}


def test_the_networks_are_those_of_the_schema_with_its_options() -> None:
    classes = get_args(get_args(Model)[0])
    assert {get_args(cls.model_fields["name"].annotation)[0] for cls in classes} == set(NETWORKS) == set(OPTIONS)
    defaults = CustomModel(name="custom", function="accord.models.dense:mlp").model_dump(exclude={"name"})
    assert build("custom", defaults, IMAGE, 10, seed=0)(torch.zeros(3, *IMAGE)).shape == (3, 10)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_network_maps_a_batch_to_logits(name: str) -> None:
    assert build(name, OPTIONS[name], IMAGE, 10, seed=0)(torch.zeros(3, *IMAGE)).shape == (3, 10)


@pytest.mark.parametrize("name", ["mlp", "tfp_cnn", "custom"])
def test_initial_values_depend_on_the_seed_and_nothing_else(name: str) -> None:
    def values(seed: int) -> torch.Tensor:
        network = build(name, OPTIONS[name], IMAGE, 10, seed)
        return torch.cat([value.detach().reshape(-1) for value in network.parameters()])

    first = values(7)
    torch.rand(3)
    assert torch.equal(values(7), first)
    assert not torch.equal(values(8), first)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    build(name, OPTIONS[name], IMAGE, 10, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "tfpcnn",
            {},
            "model.name: unknown model 'tfpcnn'; did you mean 'tfp_cnn'? "
            "(one of: logistic, mlp, tfp_cnn, mcmahan_cnn, custom)",
        ),
        ("zzz", {}, "model.name: unknown model 'zzz' (one of: logistic, mlp, tfp_cnn, mcmahan_cnn, custom)"),
        ("mlp", {"hiden": (3,)}, "model mlp: got an unexpected keyword argument 'hiden'"),
        ("custom", {}, "model custom: missing a required argument: 'function'"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        build(name, options, IMAGE, 10, seed=0)
    assert str(caught.value) == message
