"""Tables against the records they come from: read back, they are the same values."""

import csv
import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import accord
from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError
from accord.records import store
from accord.records.export import ExportTable, flat, tables, write_tables

MakeStudy = Callable[..., Study]
NOISE = {"noise_multiplier": 1.5, "delta": 1e-3, "epsilon": 4.0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each privacy unit and one without; the private ones refuse clients in the end."""
    place = tmp_path_factory.mktemp("runs")
    base: dict[str, Any] = {
        "data": {"name": "synthetic", "train_rows": 200, "test_rows": 120, "features": 4},
        "partition": {"name": "iid", "num_partitions": 4},
        "model": {"name": "logistic"},
        "program": {"name": "fedavg", "rounds": 5, "cohort_size": 3, "min_clients": 1},
        "fairness": {"groups": ["group", "group*label"]},
        "evaluation": {"every": 2},
    }

    client = base | {"program": base["program"] | {"weights": "uniform", "cohort_sampling": "poisson"}}
    studies = {
        "none": Study(**base),
        "sample": Study(**base, privacy={"unit": "sample", **NOISE}),
        "client": Study(**client, privacy={"unit": "client", **NOISE, "epsilon": 50.0}),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "accord.orchestration.runs.write_report", lambda folder: folder
        )  # drawing takes most of a small run's time
        return {name: accord.run(study, place / name).folder for name, study in studies.items()}


KINDS = ["none", "sample", "client"]


def read(path: Path) -> list[dict[str, Any]]:
    """A CSV's rows, cells as the JSON values that they spell; empty ones as None."""

    def value(text: str) -> Any:
        try:
            return None if text == "" else json.loads(text)
        except ValueError:
            return text

    with path.open(newline="", encoding="utf-8") as file:
        return [{key: value(text) for key, text in row.items()} for row in csv.DictReader(file)]


def nested(row: dict[str, Any], leave: set[str]) -> dict[str, Any]:
    """Dotted columns as nested keys; a section whose every value is missing as None."""
    made: dict[str, Any] = {}
    for key, value in row.items():
        *above, last = key.split(".")
        inner = made
        for name in above:
            inner = inner.setdefault(name, {})
        if key not in leave:
            inner[last] = value

    def folded(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: folded(each) for key, each in value.items()} if any_known(value) else None

    return {key: folded(value) for key, value in made.items()}


def any_known(value: Any) -> bool:
    return any(map(any_known, value.values())) if isinstance(value, dict) else value is not None


def exported(folder: Path, out: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.stem: read(path) for path in write_tables(tables(folder), out, "csv")}


@pytest.mark.parametrize("kind", KINDS)
def test_rounds_read_back_equal_the_lines(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    made = exported(folders[kind], tmp_path / "out")
    back = []
    for row in made["rounds"]:
        mine = [each for each in made["participation"] if each["round"] == row["round"]]
        took = sorted((each for each in mine if each["place"]), key=lambda each: int(each["place"]))
        groups: dict[str, dict[str, float]] = {}
        for each in made["group_rounds"]:
            if each["round"] == row["round"]:
                groups.setdefault(each["column"], {})[str(each["group"])] = each["accuracy"]
        back.append(
            nested(row, set())
            | {
                "cohort": [each["client"] for each in mine],
                "clients": [each["client"] for each in took],
                "refused": [each["client"] for each in mine if each["place"] is None],
                "groups": groups or None,
            }
        )
    lines = store.read_lines(folders[kind] / "rounds.jsonl")
    assert lines
    assert back == [{key: value for key, value in line.items() if value != {}} for line in lines]


@pytest.mark.parametrize("kind", ["sample", "client"])
def test_the_ledger_read_back_equals_the_lines(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    rows = exported(folders[kind], tmp_path / "out")["ledger"]
    back = []
    for number in dict.fromkeys(row["round"] for row in rows):
        mine = [row for row in rows if row["round"] == number]
        charged = [row for row in mine if row["refused"] is False]
        population = [row["epsilon"] for row in mine if row["client"] is None]
        epsilon = {str(row["client"]): row["epsilon"] for row in charged if row["epsilon"] is not None}
        back.append(
            {
                "round": number,
                "clients": [row["client"] for row in charged],
                "refused": [row["client"] for row in mine if row["refused"]],
                "steps": [row["steps"] for row in charged],
                "epsilon": {"population": population[0]} if population else epsilon,
            }
        )
    lines = store.read_lines(folders[kind] / "ledger.jsonl")
    assert len(lines) > 1
    assert [{key: line[key] for key in back[0]} for line in lines] == back


def test_groups_gaps_and_clients_are_the_records(folders: dict[str, Path], tmp_path: Path) -> None:
    made = exported(folders["sample"], tmp_path / "out")
    result = store.read_json(folders["sample"] / "result.json")
    fairness = result["fairness"]
    assert {f"{row['column']}={row['group']}": (row["n"], row["accuracy"]) for row in made["groups"]} == {
        name: (group["n"], group["accuracy"]) for name, group in fairness["groups"].items()
    }
    first = made["groups"][0]
    assert [first["tpr.low"], first["tpr.high"]] == fairness["groups"][f"group={first['group']}"]["intervals"]["tpr"]
    assert {row["column"]: row["accuracy_gap"] for row in made["gaps"]} == {
        column: gaps["accuracy_gap"] for column, gaps in fairness["columns"].items()
    }
    clients = store.read_json(folders["sample"] / "clients.json")["clients"]
    partition = store.read_json(folders["sample"] / "partition.json")["clients"]
    assert [(row["client"], row["rows"], row["accuracy"]) for row in made["clients"]] == [
        (held["client"], held["rows"], judged["accuracy"]) for held, judged in zip(partition, clients, strict=True)
    ]
    assert max(row["epsilon"] for row in made["clients"]) == result["privacy"]["epsilon"]
    assert len(made["client_groups"]) == sum(len(each["groups"]) for each in clients)
    (summary,) = made["summary"]
    assert summary["test.accuracy"] == result["test"]["accuracy"]
    assert summary["fairness.worst_group"] == fairness["worst_group"]
    assert not any(key.startswith(("released", "fairness.groups", "fairness.columns")) for key in summary)


def test_a_client_that_was_never_charged_has_spent_nothing(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("")
    members = [{"client": number, "rows": 5, "labels": [2, 3]} for number in range(3)]
    store.write_json(tmp_path / "partition.json", {"class_names": ["a", "b"], "clients": members})
    charge = {"clients": [1], "refused": [2], "steps": [4]}
    for number, epsilon in ((1, 0.25), (2, 0.5)):
        store.append_line(tmp_path / "ledger.jsonl", {"round": number, **charge, "epsilon": {"1": epsilon}})
    for joint, column in ((None, "epsilon"), ({"run": "a"}, "own")):
        store.write_json(tmp_path / "result.json", {"privacy": {"joint": joint}})
        made = {table.name: table.rows for table in tables(tmp_path)}
        assert [row[column] for row in made["clients"]] == [0.0, 0.5, 0.0]
        assert [(row["label.a"], row["label.b"]) for row in made["clients"]] == [(2, 3)] * 3
    assert [(row["client"], row["steps"], row["refused"], row["epsilon"]) for row in made["ledger"]] == [
        (1, 4, False, 0.25), (2, None, True, None), (1, 4, False, 0.5), (2, None, True, None),
    ]  # fmt: skip


@pytest.mark.parametrize("privacy", [None, {"joint": None}])
def test_a_client_has_an_epsilon_only_where_each_has_an_account(privacy: Any, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("")
    members = [{"client": 0, "rows": 5, "labels": [5]}]
    store.write_json(tmp_path / "partition.json", {"class_names": ["a"], "clients": members})
    store.write_json(tmp_path / "result.json", {"privacy": privacy})
    if privacy is not None:
        charge = {"round": 1, "clients": [0], "refused": [], "steps": [1], "epsilon": {"population": 0.5}}
        store.append_line(tmp_path / "ledger.jsonl", charge)
    made = {table.name: table.rows for table in tables(tmp_path)}
    assert made["clients"] == ({"client": 0, "rows": 5, "label.a": 5},)


def test_pandas_reads_the_same_numbers(folders: dict[str, Path], tmp_path: Path) -> None:
    write_tables(tables(folders["none"]), tmp_path, "csv")
    frame = pd.read_csv(tmp_path / "rounds.csv")
    lines = store.read_lines(folders["none"] / "rounds.jsonl")
    assert frame["test.accuracy"].dropna().tolist() == [line["test"]["accuracy"] for line in lines if line["test"]]
    assert frame["seconds.train"].tolist() == [line["seconds"]["train"] for line in lines]


def test_an_unfinished_run_has_what_it_has(folders: dict[str, Path], tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(folders["none"], folder)
    for name in ("result.json", "clients.json"):
        (folder / name).unlink()
    assert [table.name for table in tables(folder)] == ["rounds", "participation", "group_rounds", "clients"]
    (folder / "rounds.jsonl").unlink()
    assert [table.name for table in tables(folder)] == ["clients"]


def test_nothing_is_overwritten(folders: dict[str, Path], tmp_path: Path) -> None:
    made = tables(folders["none"])
    (tmp_path / "summary.csv").write_text("mine")
    with pytest.raises(RunFolderError, match=r"summary\.csv exists already; choose another folder with --out"):
        write_tables(made, tmp_path, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
    with pytest.raises(RunFolderError, match="is not a folder"):
        write_tables(made, tmp_path / "summary.csv", "csv")
    with pytest.raises(RunFolderError, match="not a run folder"):
        tables(tmp_path)


def test_parquet_without_its_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(StudyError, match=r"pip install 'accord\[tables\]'"):
        write_tables([ExportTable("t", ({"a": 1},))], tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow: pip install 'accord[tables]'")
@pytest.mark.parametrize("kind", KINDS)
def test_parquet_holds_what_csv_holds(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    made = tables(folders[kind])
    for table, path in zip(made, write_tables(made, tmp_path, "parquet"), strict=True):
        rows = pq.read_table(path).to_pylist()
        assert rows == [{column: row.get(column) for column in table.columns} for row in table.rows]


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow: pip install 'accord[tables]'")
def test_parquet_makes_a_mixed_column_one_kind(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    rows = ({"a": 1, "b": 1}, {"a": 0.5, "b": "x"}, {"a": None})
    (path,) = write_tables([ExportTable("t", rows)], tmp_path, "parquet")
    assert pq.read_table(path).to_pydict() == {"a": [1.0, 0.5, None], "b": ["1", "x", None]}


plain = st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda text: f"t{text}")


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), plain | texts, min_size=1), min_size=1))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_any_cells_read_back(rows: list[dict[str, Any]]) -> None:
    import tempfile

    table = ExportTable("t", tuple(rows))
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_tables([table], Path(folder), "csv")
        text = path.read_text(encoding="utf-8")
        back = read(path)
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == len(rows) + 1
    assert back == [{column: row.get(column) for column in table.columns} for row in rows]


def test_flat_keeps_lists_as_json() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": []}, "e": ["x"]}) == {"a.b.c": 1, "a.d": "[]", "e": '["x"]'}


@pytest.mark.parametrize("unit", ["sample", "client"])
def test_on_a_joint_ledger_a_run_by_itself_has_a_column_of_its_own(
    unit: str, small_study: MakeStudy, tmp_path: Path
) -> None:
    study = small_study(
        program={"name": "fedavg", "rounds": 2, "cohort_size": 3, "cohort_sampling": "poisson", "weights": "uniform"},
        privacy={"unit": unit, "noise_multiplier": 2.0, "delta": 1e-3},
    )
    for name in ("a", "b"):
        run = accord.run(study, tmp_path / name, ledger=tmp_path / "j")
    made, lines = exported(run.folder, tmp_path / "out"), store.read_lines(run.folder / "ledger.jsonl")
    accounts = [(row["round"], row["epsilon"], row["own"]) for row in made["ledger"] if row["epsilon"] is not None]
    assert accounts == [
        (line["round"], line["epsilon"][account], line["own"][account]) for line in lines for account in line["epsilon"]
    ]
    assert all(own < together for _, together, own in accounts if unit == "client")
    assert not any("own." in column for column in made["ledger"][0])
    if unit == "sample":
        spent = {account: value for line in lines for account, value in line["own"].items()}
        assert [row["own"] for row in made["clients"]] == [spent.get(str(client), 0.0) for client in range(6)]
        assert "epsilon" not in made["clients"][0]


def test_a_regressions_tables_have_errors(tmp_path: Path) -> None:
    study = Study(
        data={"name": "diabetes"},
        partition={"name": "iid", "num_partitions": 3},
        model={"name": "linear"},
        program={"name": "fedavg", "rounds": 2},
        fairness={"groups": ["sex"]},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("accord.orchestration.runs.write_report", lambda folder: folder)
        folder = accord.run(study, tmp_path / "run").folder
    made = {table.name: table for table in tables(folder)}
    result, rounds = store.read_json(folder / "result.json"), store.read_lines(folder / "rounds.jsonl")
    assert made["summary"].rows[0]["test.rmse"] == result["test"]["rmse"]
    assert [row["test.mae"] for row in made["rounds"].rows] == [line["test"]["mae"] for line in rounds]
    assert made["group_rounds"].columns == ("round", "column", "group", "mse")
    assert [row["mse"] for row in made["group_rounds"].rows[:2]] == list(rounds[0]["groups"]["sex"].values())
    (first, *_) = made["clients"].rows
    assert first["mse"] == store.read_json(folder / "clients.json")["clients"][0]["mse"]
    assert not any(column.startswith("label.") for column in made["clients"].columns)
    assert {"mse", "mse.low", "mae", "bias", "bias.high"} <= set(made["groups"].columns)
    assert {"mse_gap", "mae_gap.high", "bias_gap"} <= set(made["gaps"].columns)


def test_a_sweep_has_tables_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("")
    (tmp_path / "points.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"a sweep's folder; its tables are table\.csv and summary\.csv"):
        tables(tmp_path)
