"""Four small tables that once gave a wrong answer, run whole: what is right stands beside each."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import accord
from accord.config.load import make_study
from accord.core.errors import DataError, StudyError


def run(folder: Path, data: dict[str, Any], **sections: Any) -> dict[str, Any]:
    base = {
        "data": {"name": "csv"} | data,
        "partition": {"name": "iid", "num_partitions": 3},
        "model": "logistic",
        "training": {"learning_rate": 2.0, "local_epochs": 5},
        "program": {"name": "fedavg", "rounds": 5},
    }
    result = accord.run(make_study(base | sections), folder / "run").result
    assert result is not None
    return result


def test_the_index_of_a_sorted_frame_does_not_give_the_label_away(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=400), "y": np.repeat(["no", "yes"], 200)})
    frame.to_csv(tmp_path / "frame.csv")
    frame.set_index(np.arange(400)[::-1]).to_parquet(tmp_path / "frame.parquet")
    for name in ("frame.csv", "frame.parquet"):
        (tmp_path / name[6:]).mkdir()
        result = run(tmp_path / name[6:], {"path": str(tmp_path / name), "target": "y"})
        assert result["test"]["accuracy"] < 0.65  # noise: about a half; with the index it was 1


def test_labels_that_are_spelled_otherwise_in_the_test_file_stop_the_run(tmp_path: Path) -> None:
    for name, labels in (("train", ("<=50K", ">50K")), ("test", ("<=50K.", ">50K."))):
        rows = "".join(f"{number / 10},{labels[number % 2]}\n" for number in range(40))
        (tmp_path / f"{name}.csv").write_text("x,y\n" + rows)
    data = {"path": str(tmp_path / "train.csv"), "test_path": str(tmp_path / "test.csv"), "target": "y"}
    with pytest.raises(
        DataError, match=r"test\.csv: y: 40 test rows have '<=50K\.', '>50K\.', which no training row has"
    ):
        run(tmp_path, data, fairness={"groups": ["label"], "positive": ">50K"})
    assert not (tmp_path / "run").exists()


def test_which_of_1_and_2_is_selected_is_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    amount, sex = rng.normal(size=600), rng.choice(["f", "m"], size=600)
    risk = np.where(amount + 0.4 * (sex == "m") + 0.5 * rng.normal(size=600) > 0, 1, 2)
    pd.DataFrame({"amount": amount, "sex": sex, "risk": risk}).to_csv(tmp_path / "german.csv", index=False)
    data = {"path": str(tmp_path / "german.csv"), "target": "risk", "groups": ["sex"]}
    with pytest.raises(StudyError, match=r"fairness\.positive: which of the classes '1' and '2' counts as selected"):
        run(tmp_path, data, fairness={"groups": ["sex"]})
    groups = {}
    for positive in (1, 2):
        (tmp_path / str(positive)).mkdir()
        result = run(tmp_path / str(positive), data, fairness={"groups": ["sex"], "positive": positive})
        groups[positive] = result["fairness"]["groups"]
    # What is selected of 1 is not selected of 2; men are the better risks here.
    for name in ("sex=f", "sex=m"):
        assert groups[1][name]["selection_rate"] == pytest.approx(1 - groups[2][name]["selection_rate"])
        assert groups[1][name]["tpr"] == pytest.approx(1 - groups[2][name]["fpr"])
    assert groups[1]["sex=m"]["selection_rate"] > groups[1]["sex=f"]["selection_rate"]


def test_whole_numbers_above_2_to_the_53_are_told_apart_or_refused(tmp_path: Path) -> None:
    ids = [2**53 + number % 2 for number in range(200)]
    frame = pd.DataFrame({"id": ids, "y": ["no" if each == 2**53 else "yes" for each in ids]})
    frame.to_parquet(tmp_path / "ids.parquet")
    data = {"path": str(tmp_path / "ids.parquet"), "target": "y"}
    with pytest.raises(DataError, match=r"row 2: id 9007199254740993 is above 2\^53"):
        run(tmp_path, data)
    assert run(tmp_path, data | {"categorical": ["id"]})["test"]["accuracy"] == 1
