"""The model in words: which network, what it started from, and what of it was trained."""

from collections.abc import Sequence
from typing import assert_never

from accord.config.model import (
    CustomModel,
    LinearModel,
    LogisticModel,
    LstmModel,
    McmahanCnnModel,
    MlpModel,
    Model,
    Resnet18Model,
    TfpCnnModel,
)
from accord.reports.words.formatting import count, plain


def model_in_words(model: Model, private: bool = False, number: bool = False) -> str:
    """A few plain sentences on the model.

    Args:
        model: the study's `model` section, as resolved.
        private: whether the run is differentially private.
        number: whether it predicts a number, not a class.
    """
    sentences = [_network(model, "the number predicted" if number else "the classes")]
    if model.pretrained is not None:
        known = "" if model.pretrained_sha256 is None else f" (SHA-256 {plain(model.pretrained_sha256[:12])}…)"
        drawn = f", but for {_names(model.pretrained_except)}" if model.pretrained_except else ""
        sentences.append(f"It starts from the weights in {plain(model.pretrained)}{known}{drawn}.")
        if private:
            sentences.append("What those weights were trained on is not part of this run's ε.")
    if model.freeze:
        sentences.append(f"Frozen, so neither trained nor sent, is {_names(model.freeze)}.")
    if model.lora is not None:
        also = f", and {_names(model.lora.also_train)}," if model.lora.also_train else ""
        sentences.append(
            f"Its own parameters are frozen; only low-rank factors (LoRA, Hu et al. 2021, rank {model.lora.rank}, "
            f"α = {model.lora.alpha:g}) on dense layers {_names(model.lora.layers)}{also} are trained and sent."
        )
    return " ".join(sentences)


def _network(model: Model, target: str) -> str:
    match model:
        case LogisticModel():
            return "Softmax regression: one dense layer from the input to the classes."
        case LinearModel():
            return "Linear regression: one dense layer from the input to the number predicted."
        case MlpModel():
            if not model.hidden:
                return f"A single dense layer from the input to {target}."
            return f"A multilayer perceptron with ReLU and hidden layers of width {_widths(model.hidden)}."
        case TfpCnnModel():
            return "The convolutional network of TensorFlow Privacy's MNIST example, 26,010 parameters."
        case McmahanCnnModel():
            return "The convolutional network of McMahan et al. 2017, 1,663,370 parameters."
        case Resnet18Model():
            stem = "a 3×3 stem" if model.stem == "small" else "ImageNet's 7×7 stem"
            width, groups = count(model.width, "channel"), count(model.groups, "group")
            return (
                f"ResNet-18 (He et al. 2016) with {stem}, {width} in its first stage, and group norm of {groups} in "
                "place of batch norm."
            )
        case LstmModel():
            return (
                f"An LSTM over tokens: an embedding of {count(model.embedding, 'number')}, then layers of width "
                f"{_widths(model.hidden)}."
            )
        case CustomModel():
            return f"The user's own network, {plain(model.function)}."
        case _:
            assert_never(model)


def _widths(hidden: Sequence[int]) -> str:
    return ", ".join(count(width) for width in hidden)


def _names(patterns: Sequence[str]) -> str:
    return ", ".join(f"“{plain(pattern)}”" for pattern in patterns)
