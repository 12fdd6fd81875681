from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from accord.config.model import Model
from accord.reports.words.model_text import model_in_words

VARIETIES: dict[str, tuple[dict[str, Any], str]] = {
    "logistic": ({}, "Softmax regression"),
    "linear": ({}, "Linear regression: one dense layer"),
    "mlp": ({"hidden": [64, 32]}, "hidden layers of width 64, 32"),
    "tfp_cnn": ({}, "26,010"),
    "mcmahan_cnn": ({}, "1,663,370"),
    "resnet18": (
        {"groups": 1, "stem": "imagenet"},
        "ImageNet's 7×7 stem, 64 channels in its first stage, and group norm of 1 g",
    ),
    "lstm": ({"hidden": [256, 256]}, "an embedding of 8 numbers, then layers of width 256, 256"),
    "custom": ({"function": "mine:net"}, "mine:net"),
}


def words(private: bool = False, **settings: Any) -> str:
    return model_in_words(TypeAdapter[Model](Model).validate_python(settings), private)


def test_every_model_has_words() -> None:
    classes = get_args(get_args(Model)[0])
    assert [get_args(cls.model_fields["name"].annotation)[0] for cls in classes] == list(VARIETIES)


@pytest.mark.parametrize("name", VARIETIES)
def test_the_network(name: str) -> None:
    settings, expected = VARIETIES[name]
    said = words(name=name, **settings)
    assert expected in said
    assert said.endswith(".")
    assert "It starts from" not in said
    assert "rozen" not in said


def test_an_mlp_without_hidden_layers() -> None:
    assert words(name="mlp", hidden=[]) == "A single dense layer from the input to the classes."


def test_what_predicts_a_number_has_no_classes() -> None:
    model = TypeAdapter[Model](Model).validate_python({"name": "mlp", "hidden": []})
    assert model_in_words(model, number=True) == "A single dense layer from the input to the number predicted."


def test_pretrained_weights_and_their_digest() -> None:
    given: dict[str, Any] = {"name": "mlp", "pretrained": "public.safetensors", "pretrained_sha256": "ab" * 32}
    assert "It starts from the weights in public.safetensors (SHA-256 abababababab…)." in words(**given)
    assert "not part of this run's ε" not in words(**given)
    assert "What those weights were trained on is not part of this run's ε." in words(private=True, **given)
    assert "(SHA-256 abababababab…), but for “3.*”." in words(**given, pretrained_except=["3.*"])


def test_what_is_frozen() -> None:
    assert "Frozen, so neither trained nor sent, is “1.*”, “*.bias”." in words(name="mlp", freeze=["1.*", "*.bias"])


def test_low_rank_factors() -> None:
    lora = {"rank": 2, "alpha": 6, "layers": ["1"], "also_train": ["3.*"]}
    assert words(name="mlp", lora=lora).endswith(
        "Its own parameters are frozen; only low-rank factors (LoRA, Hu et al. 2021, rank 2, α = 6) on dense layers "
        "“1”, and “3.*”, are trained and sent."
    )
