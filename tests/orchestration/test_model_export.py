"""Exported models give what the model gives on test rows: ONNX in onnxruntime, `.pt2` in `torch.export`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch

import accord
from accord.config.schema import Study
from accord.data.load import load_data
from accord.orchestration.model_export import ExportError, example, write_onnx, write_torch_export

SECTIONS: list[dict[str, Any]] = [
    {},
    {"data": {"name": "digits"}, "model": {"name": "resnet18", "width": 8}, "training": {"local_steps": 1}},
    {
        "data": {"name": "text", "sequence_length": 5, "speakers": 3, "sentences": 30},
        "model": {"name": "lstm", "hidden": [8]},
    },
    {"data": {"name": "diabetes"}, "model": {"name": "mlp", "hidden": [8]}, "training": {"learning_rate": 1e-5}},
    {"model": {"name": "mlp", "hidden": [8], "lora": {"rank": 2}}},
    {"model": {"name": "custom", "function": "networks:with_batch_norm"}},
]


@pytest.mark.parametrize("sections", SECTIONS)
def test_outputs_on_test_rows_are_the_models(
    small_study: Callable[..., Study], tmp_path: Path, sections: dict[str, Any]
) -> None:
    study = small_study(program={"name": "fedavg", "rounds": 1}, fairness=None, **sections)
    model = accord.run(study, tmp_path / "run").model
    write_onnx(model, tmp_path / "model.onnx")
    write_torch_export(model, tmp_path / "model.pt2")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    extra = {"accord.json": ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    rows = load_data(study.data, study.seed).test.x
    for x in (rows[:1], rows[:17]):
        with torch.no_grad():
            expected = model(x)
            assert torch.equal(program(x), expected)
        (outputs,) = session.run(["outputs"], {"features": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(outputs), expected, rtol=1e-4, atol=1e-5)
    (about,) = [entry.value for entry in onnx.load(tmp_path / "model.onnx").metadata_props if entry.key == "accord"]
    stored = json.loads((tmp_path / "run" / "model.json").read_text())
    assert json.loads(about) == json.loads(extra["accord.json"]) == stored


def test_pixels_are_given_as_bytes(small_study: Callable[..., Study], tmp_path: Path) -> None:
    from dataclasses import replace

    from accord.data.preprocessing import TensorInput

    study = small_study(data={"name": "digits"}, program={"name": "fedavg", "rounds": 1}, fairness=None)
    model = accord.run(study, tmp_path / "run").model
    model.preprocessing = replace(model.preprocessing, input=TensorInput((1, 8, 8), "uint8"))
    assert example(model).dtype == torch.uint8
    write_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    x = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    (outputs,) = session.run(None, {"features": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(outputs), model(x.float() / 255).detach())


def test_what_cannot_be_exported_is_refused_in_a_line(
    small_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = accord.run(small_study(program={"name": "fedavg", "rounds": 1}), tmp_path / "run").model

    class Branching(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if float(x.sum()) > 0 else -x

    network = model.network
    model.network = Branching()
    model.network.weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ExportError, match="forward cannot be exported") as caught:
        write_torch_export(model, tmp_path / "model.pt2")
    assert "\n" not in str(caught.value)
    model.network = network
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install 'accord\[onnx\]'"):
        write_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.glob("model.*"))
