"""Describes the model: which network, what it was initialised from, and which parameters were trained."""

from collections.abc import Sequence

from accord.config.model import ModelSection
from accord.reports.words.formatting import plain


def model_in_words(model: ModelSection, private: bool = False, number: bool = False) -> str:
    """Returns a few plain sentences on the model.

    Args:
        model: the study's resolved `model` section.
        private: whether the run is differentially private.
        number: whether it predicts a number, not a class.
    """
    sentences = [plain(model.describe("the number predicted" if number else "the classes"))]
    if model.pretrained is not None:
        known = "" if model.pretrained_sha256 is None else f" (SHA-256 {plain(model.pretrained_sha256[:12])}…)"
        exception = f", but for {_names(model.pretrained_except)}" if model.pretrained_except else ""
        sentences.append(f"It starts from the weights in {plain(model.pretrained)}{known}{exception}.")
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


def _names(patterns: Sequence[str]) -> str:
    return ", ".join(f"“{plain(pattern)}”" for pattern in patterns)
