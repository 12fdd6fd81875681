"""The model section: closed, within bounds."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from accord.config.model import LstmModel, MlpModel, Model, Resnet18Model


def test_defaults() -> None:
    assert MlpModel(name="mlp").hidden == (64,)
    assert LstmModel(name="lstm").hidden == (64,)
    assert Resnet18Model(name="resnet18").groups == 2
    lora = MlpModel.model_validate({"name": "mlp", "lora": {}}).lora
    assert lora is not None
    assert (lora.rank, lora.alpha, lora.layers) == (4, 8.0, ("*",))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Model, {"name": "mlp", "hidden": [0]}),
        (Model, {"name": "mlp", "width": 3}),
        (Model, {"name": "custom"}),
        (Model, {"name": "lstm", "hidden": []}),
        (Model, {"name": "resnet18", "stem": "large"}),
        (Model, {"name": "mlp", "freeze": "1.*"}),
        (Model, {"name": "mlp", "lora": {"layers": []}}),
        (Model, {"name": "mlp", "lora": {"alpha": 0}}),
        (Model, {"name": "mlp", "lora": {}, "freeze": ["1.*"]}),
        (Model, {"name": "mlp", "pretrained_except": ["3.*"]}),
        (Model, {"name": "mlp", "pretrained_sha256": "00"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(values)
