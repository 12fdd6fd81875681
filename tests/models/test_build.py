from typing import Any, get_args

import pytest
import torch

from accord.config.model import CustomModel, Model
from accord.core.errors import StudyError
from accord.models.build import NETWORKS, build

IMAGE = (1, 28, 28)
SEQUENCE = (6,)
OPTIONS: dict[str, dict[str, Any]] = {
    "logistic": {},
    "linear": {},
    "mlp": {"hidden": (8,)},
    "tfp_cnn": {},
    "mcmahan_cnn": {},
    "resnet18": {"width": 2, "stem": "imagenet"},
    "lstm": {"hidden": (8,), "vocabulary": 20},
    "custom": {"function": "accord.models.dense:mlp", "settings": {"hidden": [8]}},
}


def make(name: str, seed: int = 0, **more: Any) -> torch.nn.Module:
    tokens = 20 if name == "lstm" else None
    classes = 0 if name == "linear" else 10
    return build(name, OPTIONS[name] | more, SEQUENCE if tokens else IMAGE, classes, seed, tokens=tokens)


def test_the_networks_are_those_of_the_schema_with_its_options() -> None:
    classes = get_args(get_args(Model)[0])
    assert {get_args(cls.model_fields["name"].annotation)[0] for cls in classes} == set(NETWORKS) == set(OPTIONS)
    defaults = CustomModel(name="custom", function="accord.models.dense:mlp").model_dump(exclude={"name"})
    assert build("custom", defaults, IMAGE, 10, seed=0)(torch.zeros(3, *IMAGE)).shape == (3, 10)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_network_maps_a_batch_to_logits(name: str) -> None:
    x = torch.zeros(3, *SEQUENCE, dtype=torch.int64) if name == "lstm" else torch.zeros(3, *IMAGE)
    assert make(name)(x).shape == (3, 1 if name == "linear" else 10)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "logistic"])
def test_every_network_but_logistic_predicts_a_number_where_there_are_no_classes(name: str) -> None:
    shape, tokens = (SEQUENCE, 20) if name == "lstm" else (IMAGE, None)
    x = torch.zeros(3, *shape, dtype=torch.int64 if tokens else torch.float32)
    assert build(name, OPTIONS[name], shape, 0, seed=0, tokens=tokens)(x).shape == (3, 1)
    with pytest.raises(StudyError, match="logistic predicts classes, but the data's target is a number; use linear"):
        build("logistic", {}, IMAGE, 0, seed=0)
    with pytest.raises(StudyError, match="linear predicts a number, but the data has 10 classes; use logistic"):
        build("linear", {}, IMAGE, 10, seed=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_network_can_be_frozen_in_part_and_given_factors(name: str) -> None:
    first = next(iter(dict(make(name).named_parameters())))
    if name not in ("logistic", "linear"):
        frozen = make(name, freeze=[first])
        assert [each for each, value in frozen.named_parameters() if not value.requires_grad] == [first]
    lora = {"rank": 2, "alpha": 4.0, "layers": ("*",), "also_train": ()}
    adapted = make(name, lora=lora)
    assert all(
        value.requires_grad == (each.rpartition(".")[2] in ("lora_a", "lora_b"))
        for each, value in adapted.named_parameters()
    )


@pytest.mark.parametrize("name", ["mlp", "tfp_cnn", "resnet18", "lstm", "custom"])
def test_initial_values_depend_on_the_seed_and_nothing_else(name: str) -> None:
    def values(seed: int) -> torch.Tensor:
        network = make(name, seed)
        return torch.cat([value.detach().reshape(-1) for value in network.parameters()])

    first = values(7)
    torch.rand(3)
    assert torch.equal(values(7), first)
    assert not torch.equal(values(8), first)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_global_generator_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    make(name, 7)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "tfpcnn",
            {},
            "model.name: unknown model 'tfpcnn'; did you mean 'tfp_cnn'? "
            "(one of: logistic, linear, mlp, tfp_cnn, mcmahan_cnn, resnet18, lstm, custom)",
        ),
        (
            "zzz",
            {},
            "model.name: unknown model 'zzz' "
            "(one of: logistic, linear, mlp, tfp_cnn, mcmahan_cnn, resnet18, lstm, custom)",
        ),
        ("mlp", {"hiden": (3,)}, "model mlp: got an unexpected keyword argument 'hiden'"),
        ("custom", {}, "model custom: missing a required argument: 'function'"),
    ],
)
def test_what_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        build(name, options, IMAGE, 10, seed=0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "shape", "tokens", "message"),
    [
        ("mlp", SEQUENCE, 20, "model.name: mlp takes numbers, but the data holds tokens; use lstm or a custom model"),
        ("lstm", IMAGE, None, "model.name: lstm takes tokens, but the data holds numbers; use it with data text"),
        (
            "lstm",
            SEQUENCE,
            21,
            "model.vocabulary: the data holds tokens up to 20, but the network has room for 20 tokens; set it to 21 or "
            "more",
        ),
    ],
)
def test_data_of_the_wrong_kind(name: str, shape: tuple[int, ...], tokens: int | None, message: str) -> None:
    with pytest.raises(StudyError) as caught:
        build(name, OPTIONS[name], shape, 10, seed=0, tokens=tokens)
    assert str(caught.value) == message


def test_a_custom_network_is_tried_out_on_tokens_where_the_data_holds_them() -> None:
    options = {"function": "networks:reads_tokens"}
    network = build("custom", options, SEQUENCE, 10, seed=0, tokens=10)
    assert network(torch.zeros(3, *SEQUENCE, dtype=torch.int64)).shape == (3, 10)
    with pytest.raises(StudyError, match="its network fails on input of shape"):
        build("custom", options, SEQUENCE, 10, seed=0)
