"""A run's model used: its predictions against the run's own scores, and against arithmetic written out by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

import accord
from accord.config.schema import Study
from accord.core.errors import DataError, RunFolderError
from accord.data.federated import DataSet
from accord.data.load import load_data
from accord.orchestration.trained_model import TrainedModel

RNG = np.random.default_rng(2)
N = 120


def people(rows: int) -> pd.DataFrame:
    age, job = RNG.integers(18, 90, rows), RNG.choice(["cook", "clerk"], rows)
    pay = np.where(age / 90 + (job == "clerk") > 0.9, "high", "low")
    return pd.DataFrame({"age": age, "job": job, "town": RNG.choice(["Ulm", "Bonn"], rows), "pay": pay})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private run on a table, its rows beside it."""
    folder = tmp_path_factory.mktemp("people")
    people(N).to_csv(folder / "train.csv", index=False)
    people(40).to_csv(folder / "test.csv", index=False)
    study = accord.Study(
        data={
            "name": "csv",
            "path": str(folder / "train.csv"),
            "test_path": str(folder / "test.csv"),
            "target": "pay",
            "groups": ["town"],
            "ranges": {"age": [0, 100]},
            "categories": {"job": ["cook", "clerk"], "town": ["Ulm", "Bonn"], "pay": ["low", "high"]},
        },
        partition={"name": "iid", "num_partitions": 3},
        model={"name": "logistic"},
        training={"batch_size": 20, "learning_rate": 0.5},
        program={"name": "fedavg", "rounds": 3},
        privacy={"unit": "sample", "noise_multiplier": 0.5, "delta": 1e-3},
    )
    accord.run(study, folder / "run")
    return folder


def test_predictions_of_the_test_file_have_the_runs_accuracy(folder: Path) -> None:
    run = accord.open_run(folder / "run")
    test = pd.read_csv(folder / "test.csv")
    found = run.model.predict(folder / "test.csv")
    assert run.result is not None
    assert np.mean(found.values == test["pay"].to_numpy()) == run.result["test"]["accuracy"]
    assert found.classes == ("low", "high")
    assert len(found) == 40


def test_probabilities_are_those_of_the_weights_by_hand(folder: Path) -> None:
    rows = pd.DataFrame({"job": ["clerk", "cook"], "age": [25, 75]})  # in another order than in training
    weights = load_file(folder / "run" / "model.safetensors")
    (weight,) = (value for value in weights.values() if value.ndim == 2)
    (bias,) = (value for value in weights.values() if value.ndim == 1)
    x = np.array([[0.25, 0, 1], [0.75, 1, 0]])
    logits = x @ weight.T.astype(np.float64) + bias
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for model in (accord.load_model(folder / "run"), accord.open_run(folder / "run").model):
        found = model.predict(rows)
        assert found.probabilities == pytest.approx(expected, abs=1e-6)
        assert found.values.tolist() == [("low", "high")[int(row.argmax())] for row in expected]
        assert list(found.columns()) == ["prediction", "probability_low", "probability_high"]


def test_parquet_csv_frame_mapping_and_features_agree(folder: Path, tmp_path: Path) -> None:
    rows = pd.read_csv(folder / "test.csv")
    rows.to_parquet(tmp_path / "rows.parquet")
    model = accord.load_model(folder / "run")
    expected = model.predict(folder / "test.csv").probabilities
    features = model.features(rows)
    np.save(tmp_path / "rows.npy", features.numpy())
    for given in (tmp_path / "rows.parquet", rows, rows.to_dict("list"), features, str(tmp_path / "rows.npy")):
        assert np.array_equal(model.predict(given).probabilities, expected)  # type: ignore[arg-type]


def test_the_model_is_a_module_in_evaluation_mode(folder: Path) -> None:
    model = accord.load_model(folder / "run")
    assert isinstance(model, torch.nn.Module)
    assert isinstance(model, TrainedModel)
    assert not any(module.training for module in model.modules())
    assert model(torch.zeros(7, 3)).shape == (7, 2)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"age": [30]}, "no column 'job'"),
        ({"age": [30], "job": ["cook"], "height": [180]}, "unknown column 'height'"),
        ({"age": [30], "job": ["chef"]}, "job 'chef' is none of the values that the model knows"),
        ({"age": [300], "job": ["cook"]}, "age 300 is outside of the range 0 to 100"),
    ],
)
def test_rows_that_do_not_fit_are_refused(folder: Path, rows: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        accord.load_model(folder / "run").predict(rows)


def test_what_is_stored_of_a_private_run_is_what_its_study_states(folder: Path) -> None:
    stored = json.loads((folder / "run" / "model.json").read_text())
    assert stored["input"]["columns"] == [
        {
            "name": "age",
            "kind": "number",
            "range": [0.0, 100.0],
            "scaled_to": [0.0, 1.0],
            "logarithmic": False,
            "outside": "refuse",
            "missing": None,
        },
        {"name": "job", "kind": "category", "values": ["cook", "clerk"], "missing": None},
    ]
    assert (stored["classes"], stored["target"], stored["task"]) == (["low", "high"], "pay", "classification")


def test_a_folder_without_its_description_says_so(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder / "run", tmp_path / "old")
    (tmp_path / "old" / "model.json").unlink()
    with pytest.raises(RunFolderError, match=r"no model.json, .* earlier version"):
        accord.load_model(tmp_path / "old")


def test_of_an_unfinished_run_it_is_the_last_checkpoints(small_study: Callable[..., Study], tmp_path: Path) -> None:
    def stop(stage: str, record: Any, planned: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        accord.run(small_study(), tmp_path / "run", on_round=stop)
    run = accord.open_run(tmp_path / "run")
    assert run.result is None
    loaded = accord.load_model(tmp_path / "run").network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in run.params.items())


NETWORKS: list[dict[str, Any]] = [
    {"model": {"name": "mlp", "hidden": [8], "lora": {"rank": 2}}},
    {"model": {"name": "mlp", "hidden": [8], "freeze": ["1.*"]}},
    {"data": {"name": "digits"}, "model": {"name": "resnet18", "width": 8}, "training": {"local_steps": 2}},
    {
        "data": {"name": "text", "sequence_length": 5, "speakers": 3, "sentences": 30},
        "model": {"name": "lstm", "hidden": [8]},
    },
    {"data": {"name": "synthetic", "target_kind": "number"}, "model": {"name": "linear"}},
    {
        "data": {"name": "diabetes", "target_range": [0, 400]},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"local_steps": 4, "batch_size": 20, "learning_rate": 0.1},
    },
    {"model": {"name": "custom", "function": "networks:with_batch_norm"}},
]


@pytest.mark.parametrize("sections", NETWORKS)
def test_every_kind_of_network_predicts_what_the_run_scored(
    small_study: Callable[..., Study], tmp_path: Path, sections: dict[str, Any]
) -> None:
    study = small_study(program={"name": "fedavg", "rounds": 1}, fairness=None, **sections)
    run = accord.run(study, tmp_path / "run")
    data: DataSet = load_data(study.data, study.seed)
    assert run.result is not None
    model = accord.load_model(tmp_path / "run")
    found = model.predict(data.test.x)
    if data.regression:
        low, high = model.preprocessing.target_range or (0.0, 1.0)
        truth = low + (high - low) * data.test.y.numpy().astype(np.float64)
        rmse = float(np.sqrt(np.mean((found.values - truth) ** 2))) / (high - low)
        assert rmse == pytest.approx(run.result["test"]["rmse"], rel=1e-5)
        assert found.probabilities is None
    else:
        truth = np.array(data.class_names, dtype=object)[data.test.y.numpy()]
        assert np.mean(found.values == truth) == run.result["test"]["accuracy"]


def test_pretrained_weights_need_not_be_there_any_more(small_study: Callable[..., Study], tmp_path: Path) -> None:
    first = accord.run(small_study(), tmp_path / "first")
    weights = tmp_path / "weights.safetensors"
    (tmp_path / "first" / "model.safetensors").rename(weights)
    model = {"name": "logistic", "pretrained": str(weights)}
    accord.run(small_study(model=model, program={"name": "fedavg", "rounds": 1}), tmp_path / "second")
    weights.unlink()
    assert len(accord.load_model(tmp_path / "second").predict(torch.zeros(2, 6))) == 2
    assert first.params.keys() == accord.open_run(tmp_path / "second").params.keys()


def test_a_client_that_keeps_a_model_has_its_own(small_study: Callable[..., Study], tmp_path: Path) -> None:
    study = small_study(program={"name": "ditto", "rounds": 2})
    run = accord.run(study, tmp_path / "run")
    shared, own = (accord.load_model(tmp_path / "run", client=client) for client in (None, 2))
    names = dict(shared.network.named_parameters())
    assert all(torch.equal(value, run.params[name]) for name, value in names.items())
    assert any(not torch.equal(value, names[name]) for name, value in own.network.named_parameters())
    with pytest.raises(RunFolderError, match="client 99 keeps no model of its own"):
        accord.load_model(tmp_path / "run", client=99)


def test_a_custom_network_that_has_changed_is_refused(
    small_study: Callable[..., Study], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_once.py").write_text(
        "from torch import nn\nWIDTH = 4\n"
        "def net(input_shape, classes):\n"
        "    return nn.Sequential(nn.Linear(input_shape[0], WIDTH), nn.Linear(WIDTH, classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    accord.run(small_study(model={"name": "custom", "function": "mine_once:net"}), tmp_path / "run")
    import mine_once  # type: ignore[import-not-found]

    monkeypatch.setattr(mine_once, "WIDTH", 5)
    with pytest.raises(RunFolderError, match="put back the code that it was trained with"):
        accord.load_model(tmp_path / "run")


def test_tensors_come_from_tables_by_named_columns(small_study: Callable[..., Study], tmp_path: Path) -> None:
    accord.run(small_study(), tmp_path / "run")
    model = accord.load_model(tmp_path / "run")
    x = np.round(RNG.standard_normal((5, 6)), 3)
    columns = [f"x{index}" for index in range(6)]
    pd.DataFrame(x, columns=columns).to_csv(tmp_path / "rows.csv", index=False)
    expected = model.predict(x).probabilities
    assert model.predict(tmp_path / "rows.csv").probabilities == pytest.approx(expected)
    assert model.predict(pd.DataFrame(x, columns=columns)).probabilities == pytest.approx(expected)
    pd.DataFrame(x[:, :5], columns=columns[:5]).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(DataError, match="column 'x5' is missing"):
        model.predict(tmp_path / "rows.csv")
