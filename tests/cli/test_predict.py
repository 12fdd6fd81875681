"""`accord predict` and the exports of a model: what a person types after a run."""

import csv
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import accord

Cli = Callable[..., Any]
ROWS = "age,job,pay\n20,cook,low\n40,clerk,high\n60,cook,high\n30,cook,low\n50,clerk,low\n"


@pytest.fixture
def ran(cli: Cli, study_file: Callable[..., Path], tmp_path: Path) -> None:
    """A run folder `run`, trained on `rows.csv`."""
    (tmp_path / "rows.csv").write_text(ROWS)
    study = study_file(
        data={
            "name": "csv",
            "path": "rows.csv",
            "test_path": "rows.csv",
            "target": "pay",
            "categorical": ["job"],
        },
        partition={"name": "iid", "num_partitions": 2},
        program={"name": "fedavg", "rounds": 1},
    )
    assert cli("run", study, "--out", "run").code == 0


@pytest.mark.usefixtures("ran")
def test_predictions_are_a_table_on_stdout(cli: Cli) -> None:
    said = cli("predict", "run", "rows.csv")
    assert (said.code, said.err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(said.out)))
    expected = accord.load_model("run").predict("rows.csv")
    assert [row["prediction"] for row in rows] == expected.values.tolist()
    assert expected.probabilities is not None
    for row, (low, high) in zip(rows, expected.probabilities, strict=True):
        names = ("probability_high", "probability_low")
        assert [float(row[name]) for name in names] == pytest.approx([low, high])


@pytest.mark.usefixtures("ran")
def test_out_is_csv_or_parquet(cli: Cli) -> None:
    assert cli("predict", "run", "rows.csv", "--out", "found.csv").out == "found.csv: 5 rows, by the shared model\n"
    cli("predict", "run", "rows.csv", "--out", "found.parquet")
    pd.testing.assert_frame_equal(pd.read_csv("found.csv"), pd.read_parquet("found.parquet"), check_dtype=False)
    assert cli("predict", "run", "rows.csv", "--out", "rows.csv").code == 2
    assert Path("rows.csv").read_text() == ROWS


@pytest.mark.usefixtures("ran")
def test_json_is_one_object(cli: Cli) -> None:
    told = json.loads(cli("predict", "run", "rows.csv", "--json").out)
    assert (told["rows"], told["model"], len(told["predictions"]["prediction"])) == (5, "the shared model", 5)
    assert "predictions" not in json.loads(cli("predict", "run", "rows.csv", "--json", "--out", "found.csv").out)


@pytest.mark.usefixtures("ran")
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("age\n3\n", "accord: bad.csv: no column 'job', which the model needs"),
        ("age,job,shoe\n3,cook,41\n", "accord: bad.csv: unknown column 'shoe'"),
        ("age,job\n3,cook\n4,chef\n", "accord: bad.csv: line 3: job 'chef' is none of the values"),
        ("age,job\nx,cook\n", "accord: bad.csv: line 2: age 'x' is no finite number"),
        ("age,job\n,cook\n", "accord: bad.csv: line 2: age is missing"),
        ("", "accord: bad.csv: the file is empty"),
    ],
)
def test_what_does_not_fit_is_one_line(cli: Cli, rows: str, told: str) -> None:
    Path("bad.csv").write_text(rows)
    said = cli("predict", "run", "bad.csv", "--out", "found.csv")
    assert (said.code, said.out, len(said.err.splitlines())) == (2, "", 1)
    assert said.err.startswith(told)
    assert not Path("found.csv").exists()


def test_it_is_said_that_clients_keep_models_of_their_own(cli: Cli, study_file: Callable[..., Path]) -> None:
    cli("run", study_file(program={"name": "ditto", "rounds": 1}), "--out", "run")
    pd.DataFrame([[0.5] * 6] * 2, columns=[f"x{index}" for index in range(6)]).to_csv("rows.csv", index=False)
    said = cli("predict", "run", "rows.csv")
    assert "predicted by the shared model; 6 clients keep" in said.err
    own = cli("predict", "run", "rows.csv", "--client", 3, "--json")
    assert own.err == ""
    assert json.loads(own.out)["model"] == "client 3's model"
    assert cli("predict", "run", "rows.csv", "--client", 77).code == 2


@pytest.mark.usefixtures("ran")
def test_the_model_is_exported(cli: Cli) -> None:
    said = cli("export", "run", "--onnx", "model.onnx", "--torch-export", "model.pt2")
    assert (said.code, said.out) == (0, "model.onnx\nmodel.pt2\n")
    model = accord.load_model("run")
    x = model.features("rows.csv")
    assert torch.equal(torch.export.load("model.pt2").module()(x), model(x))
    assert Path("model.onnx").stat().st_size > 100
    assert not Path("run/tables").exists()
    assert json.loads(cli("export", "run", "--torch-export", "again.pt2", "--json").out)["files"] == [
        {"file": "again.pt2"}
    ]


GAPS = "age,job,pay\n20,cook,low\n,clerk,high\n40,clerk,high\n60,?,high\n60,cook,high\n30,cook,low\n50,clerk,low\n"


@pytest.fixture
def ran_without_gaps(cli: Cli, study_file: Callable[..., Path], tmp_path: Path) -> Path:
    """A run folder `run` whose study leaves out rows with missing values."""
    (tmp_path / "gaps.csv").write_text(GAPS)
    data = {"name": "csv", "path": "gaps.csv", "test_path": "gaps.csv", "target": "pay", "categorical": ["job"]}
    study = study_file(
        data=data | {"missing": "drop", "ranges": {"age": [0, 100]}},
        partition={"name": "iid", "num_partitions": 2},
        program={"name": "fedavg", "rounds": 1},
    )
    said = cli("run", study, "--out", "run", "--json")
    assert "accord: data csv: 4 of 14 rows have missing values and are left out" in said.err
    assert json.loads(said.out)["data"]["left_out_rows"] == 4
    return study


@pytest.mark.usefixtures("ran_without_gaps")
def test_rows_that_the_training_left_out_keep_their_place_without_a_prediction(cli: Cli) -> None:
    said = cli("predict", "run", "gaps.csv")
    assert said.code == 0
    assert "accord: 2 of 7 rows have missing values and no prediction" in said.err
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [index for index, row in enumerate(rows) if not row["prediction"]] == [1, 3]
    assert all(not any(rows[index].values()) for index in (1, 3))

    Path("whole.csv").write_text("age,job,pay\n20,cook,low\n40,clerk,high\n60,cook,high\n30,cook,low\n50,clerk,low\n")
    whole = list(csv.DictReader(io.StringIO(cli("predict", "run", "whole.csv").out)))
    assert [row for row in rows if row["prediction"]] == whole
    told = json.loads(cli("predict", "run", "gaps.csv", "--json").out)
    assert (told["rows"], told["blank"], told["predictions"]["prediction"][1]) == (7, 2, None)
    cli("predict", "run", "gaps.csv", "--out", "found.parquet")
    assert pd.read_parquet("found.parquet")["prediction"].isna().tolist() == [0, 1, 0, 1, 0, 0, 0]
    frame = accord.load_model("run").predict(pd.read_csv("gaps.csv").drop(columns="pay"))
    assert frame.columns() == told["predictions"]


@pytest.mark.usefixtures("ran_without_gaps")
def test_all_that_does_not_fit_is_told_at_once(cli: Cli) -> None:
    Path("bad.csv").write_text("age,job\nx,cook\n20,chef\n300,cook\n,chef\n" + "400,cook\n" * 9)
    said = cli("predict", "run", "bad.csv")
    lines = said.err.strip().splitlines()
    assert said.code == 2
    assert "line 2: age 'x' is no finite number" in lines[0]
    assert "line 3: job 'chef' is none of the values that the model knows" in lines[1]
    assert "line 4: age 300 is outside of the range 0 to 100" in lines[2]
    assert len(lines) == 6
    # 12 values of 12 rows do not fit; the row without an age stays without a prediction, whatever else it has.
    assert lines[5] == "accord: and 7 more values that do not fit, in 12 rows altogether"
    Path("bad.csv").write_text("ages,jobs\n3,cook\n")
    assert [line.split(": ")[2].split("'")[1] for line in cli("predict", "run", "bad.csv").err.splitlines()] == [
        "age",
        "job",
        "ages",
        "jobs",
    ]


def test_how_many_rows_were_left_out_is_in_no_private_record(cli: Cli, ran_without_gaps: Path, tmp_path: Path) -> None:
    privacy = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
    stated = {"job": ["cook", "clerk"], "pay": ["low", "high"]}
    study = ran_without_gaps.read_text()
    sets = [f"--set=privacy={json.dumps(privacy)}", f"--set=data.categories={json.dumps(stated)}"]
    said = cli("run", ran_without_gaps, "--out", "private", "--json", *sets)
    assert said.code == 0, said.err
    assert "4 of 14 rows have missing values" in said.err
    told = json.loads(said.out)
    assert told["data"]["left_out_rows"] is None
    (entry,) = [each for each in told["released"] if "missing values" in each["what"]]
    assert "terminal" in entry["how"]
    assert ran_without_gaps.read_text() == study


def test_a_folder_of_pictures_is_predicted_with_the_files_names(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, values, magic in (("images-idx3", pixels, 0x803), ("labels-idx1", np.arange(40) % 10, 0x801)):
            header = struct.pack(f">{1 + values.ndim}I", magic, *values.shape)
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(header + values.astype(np.uint8).tobytes())
    study = {"data": {"name": "mnist", "path": str(tmp_path), "mean": 0.1, "std": 0.3}, "model": "logistic"}
    run = accord.run(study | {"program": {"name": "fedavg", "rounds": 1}}, tmp_path / "run")
    (tmp_path / "new").mkdir()
    for at in (1, 0):
        Image.fromarray(pixels[at]).save(tmp_path / "new" / f"{at}.png")
    rows = list(csv.DictReader(io.StringIO(cli("predict", "run", "new").out)))
    assert [row["file"] for row in rows] == ["0.png", "1.png"]
    # The scaling is written out here, and held against the rows of the training by the predictions.
    scaled = torch.from_numpy(((pixels[:2, None] / 255 - 0.1) / 0.3).astype(np.float32))
    assert run.model.features(tmp_path / "new").tolist() == scaled.tolist()
    assert [row["prediction"] for row in rows] == run.model.predict(scaled).values.tolist()


@pytest.mark.usefixtures("ran")
def test_a_folder_for_a_model_of_a_table_is_refused(cli: Cli) -> None:
    said = cli("predict", "run", ".")
    assert (said.code, "the model takes rows of a table" in said.err) == (2, True)
