"""`accord run`: what a person types, what they see, and what they see when it goes wrong."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from accord.config.schema import Study

Cli = Callable[..., Any]
StudyFile = Callable[..., Path]
SAMPLE = {"unit": "sample", "epsilon": 3.0, "delta": 1e-4}


def test_a_run_prints_a_table_and_the_report(cli: Cli, study_file: StudyFile) -> None:
    study = study_file(privacy=SAMPLE, evaluation={"twin": True}, fairness={"groups": ["group"]})
    said = cli("run", study)
    assert said.code == 0
    report = Path(said.out.strip().splitlines()[-1].removeprefix("report: "))
    assert report.is_file()
    assert report.parts[0] == "runs"
    for words in ("Accuracy", "without privacy", "ε", "Worst group", "messages"):
        assert words in said.out
    assert max(map(len, said.out.splitlines())) <= 80 or str(report) in said.out
    assert said.err.count("round 4/4") == 2  # a line a round where there is no terminal: training and twin


def test_json_is_exactly_one_object(cli: Cli, study_file: StudyFile) -> None:
    said = cli("run", study_file(privacy=SAMPLE), "--json", "--out", "there")
    assert said.code == 0
    assert len(said.out.splitlines()) == 1
    result = json.loads(said.out)
    assert result["run"] == "there"
    assert result["privacy"]["epsilon"] <= 3.0


def test_set_overrides_and_engine(cli: Cli, study_file: StudyFile) -> None:
    said = cli("run", study_file(), "--set", "program.rounds=2", "--set", "seed=5", "--engine", "sequential", "--json")
    result = json.loads(said.out)
    assert (result["rounds"], result["seed"]) == (2, 5)


def test_the_schema_is_json_schema(cli: Cli) -> None:
    said = cli("run", "--print-schema")
    schema = json.loads(said.out)
    assert said.code == 0
    assert list(schema["properties"]) == list(Study.model_fields)
    assert schema["additionalProperties"] is False


def test_resume_of_a_stopped_run(cli: Cli, study_file: StudyFile) -> None:
    study = study_file(privacy=SAMPLE | {"noise_multiplier": 1.5}, program={"name": "fedavg", "rounds": 200})
    said = cli("run", study, "--out", "there")
    assert said.code == 3
    assert "accord: stopped early and saved: round" in said.err
    assert "past epsilon 3" in said.err
    assert "stopped" in said.out
    assert cli("run", "--resume", "there").code == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"program": {"name": "fedavg", "roundz": 3}}, "program.roundz: unknown key; did you mean 'rounds'?"),
    ({"programme": {"name": "fedavg"}}, "did you mean 'program'?"),
    ({"program": {"name": "fedavg", "rounds": "many"}}, "program.rounds"),
    ({"program": {"name": "fedavg", "rounds": 0}}, "program.rounds"),
    ({"program": {"name": "fedavgg"}}, "did you mean 'fedavg'?"),
    ({"training": {"learning_rate": True}}, "training.learning_rate"),
    ({"privacy": SAMPLE | {"delta": 0.5}}, "privacy.delta 0.5 must be below 1/n"),
    ({"privacy": SAMPLE | {"unit": "client"}}, "no bound on a client's weight"),
    ({"privacy": {"unit": "sample", "delta": 1e-4}}, "give epsilon (a budget), noise_multiplier, or both"),
    ({"privacy": SAMPLE, "model": {"name": "custom", "function": "networks:with_batch_norm"}}, "batch norm"),
    ({"program": {"name": "fedavg", "cohort_size": 99}}, "cohort_size 99 is larger than the population"),
    ({"partition": {"name": "iid", "num_partitions": 999}}, "client"),
    ({"data": {"name": "mnist", "path": "nowhere"}}, "nowhere"),
    ({"model": {"name": "custom", "function": "no_such_module:f"}}, "no_such_module"),
    ({"engine": {"name": "sequentiall"}}, "sequential"),
]


@pytest.mark.parametrize(("sections", "message"), BAD)
def test_bad_studies_are_one_line_and_exit_2_and_write_nothing(
    cli: Cli, study_file: StudyFile, tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    said = cli("run", study_file(**sections), "--out", "there", "--json")
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert said.err.startswith("accord: ")
    assert message in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]


def idx(kind: int, shape: tuple[int, ...], values: bytes) -> bytes:
    """An idx file: magic number, sizes, unsigned bytes (LeCun's format)."""
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + values


GOOD = {
    "train-images-idx3-ubyte": idx(8, (40, 28, 28), bytes(40 * 784)),
    "train-labels-idx1-ubyte": idx(8, (40,), bytes(range(10)) * 4),
    "t10k-images-idx3-ubyte": idx(8, (20, 28, 28), bytes(20 * 784)),
    "t10k-labels-idx1-ubyte": idx(8, (20,), bytes(range(10)) * 2),
}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images-idx3-ubyte", None, "train-images-idx3-ubyte"),
        ("train-images-idx3-ubyte", GOOD["train-images-idx3-ubyte"][:-100], "truncated"),
        ("train-images-idx3-ubyte", GOOD["train-labels-idx1-ubyte"], "labels"),
        ("train-labels-idx1-ubyte", idx(8, (40,), bytes([77]) * 40), "label"),
        ("t10k-labels-idx1-ubyte", idx(8, (19,), bytes(19)), "19"),
        ("t10k-images-idx3-ubyte.gz", b"\x1f\x8b broken", "t10k-images-idx3-ubyte.gz"),
    ],
)
def test_missing_truncated_and_mislabelled_data(
    cli: Cli, study_file: StudyFile, tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, good in GOOD.items():
        if name != file.removesuffix(".gz"):
            (folder / name).write_bytes(good)
    if content is not None:
        (folder / file).write_bytes(content)
    study = study_file(data={"name": "mnist", "path": str(folder)}, partition={"name": "iid", "num_partitions": 2})
    said = cli("run", study, "--out", "there", "--json")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1, said.err
    assert message in said.err
    assert not (tmp_path / "there").exists()


def test_good_idx_files_run(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    """The files the faults above are made from are good ones."""
    for name, good in GOOD.items():
        (tmp_path / name).write_bytes(good)
    study = study_file(data={"name": "mnist", "path": str(tmp_path)}, partition={"name": "iid", "num_partitions": 2})
    assert cli("run", study, "--out", "there", "--json").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "name a study file"),
        (["run", "missing.yaml"], "missing.yaml"),
        (["run", "--resume", "missing"], "no such run folder"),
        (["run", "study.yaml", "--resume", "missing"], "give it alone"),
        (["run", "study.yaml", "--set", "program.rounds"], "program.rounds"),
        (["run", "study.yaml", "--set", "program.roundz=3"], "did you mean 'rounds'?"),
        (["run", "study.yaml", "--engine", "quantum"], "quantum"),
        (["run", "study.yaml", "--nonsense"], "nonsense"),
        (["runn"], "runn"),
    ],
)
def test_bad_commands_are_one_line_and_exit_2(
    cli: Cli, study_file: StudyFile, arguments: list[str], message: str
) -> None:
    study_file()
    said = cli(*arguments)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1, said.err
    assert message in said.err


def test_an_existing_folder_is_refused_and_left_alone(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    study = study_file()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    said = cli("run", study, "--out", "there")
    assert said.code == 2
    assert "choose another with --out" in said.err
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["notes"]


def test_a_client_that_fails_is_one_line_and_exit_1(cli: Cli, study_file: StudyFile) -> None:
    study = study_file(
        model={"name": "custom", "function": "networks:explosive"},
        training={"learning_rate": 1e8, "local_steps": 1},
        program={"name": "fedavg", "rounds": 50},
    )
    said = cli("run", study, "--out", "there")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("accord: round ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "setting",
    [
        "model={name: mlp, hidden: [100000000000]}",
        "partition.num_partitions=100000000000",
        "data.train_rows=1000000000000",
        "fairness={groups: [group], confidence: 0.9999999999999999}",
        "privacy={unit: sample, delta: 1.0e-4, noise_multiplier: 1.0e+300}",
    ],
)
def test_numbers_no_machine_holds_are_one_line(cli: Cli, study_file: StudyFile, tmp_path: Path, setting: str) -> None:
    said = cli("run", study_file(), "--set", setting, "--out", "there")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1, said.err
    assert not (tmp_path / "there").exists()


def test_functions_are_found_beside_the_study_and_may_print(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    beside = tmp_path / "else where"
    beside.mkdir()
    (beside / "talkative_rows.py").write_text(
        "import rows\ndef load():\n    print('hello')\n    return rows.with_names()\n"
    )
    study = study_file(data={"name": "custom", "function": "talkative_rows:load"}).rename(beside / "study.yaml")
    said = cli("run", study, "--json", "--out", "there")
    assert said.code == 0, said.err
    assert json.loads(said.out)["status"] == "done"
    assert "hello" in said.err


def test_runs_on_one_ledger(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    study = study_file(privacy=SAMPLE)
    assert cli("run", study, "--out", "a", "--ledger", "adult.ledger").code == 0
    said = cli("run", study, "--set", "privacy.epsilon=5", "--out", "b", "--ledger", "adult.ledger")
    assert said.code == 0
    assert "ε of 2 runs on the ledger adult.ledger together" in said.out
    assert "this run" in said.out
    result = json.loads((tmp_path / "b" / "result.json").read_text())
    assert result["privacy"]["joint"]["own"]["max"] < result["privacy"]["epsilon"] <= 5.0
    assert result["privacy"]["joint"]["ledger"] == str(tmp_path / "adult.ledger")
    assert cli("run", "--resume", "b").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "privacy.epsilon 3: earlier runs on this ledger took 2.99"),
        (["--set", "privacy=null"], "--ledger {}/adult.ledger: the study has no privacy section"),
        (["--set", "evaluation.twin=true"], "--ledger {}/adult.ledger: evaluation.twin trains on the same rows"),
        (["--set", "seed=2", "--set", "privacy.epsilon=9"], "{}/adult.ledger is the ledger of another data set"),
        (["--set", "privacy.epsilon=9", "--ledger", "nowhere/j"], "ledger {}/nowhere/j cannot be opened"),
    ],
)
def test_what_does_not_go_on_a_ledger_is_one_line_and_exit_2(
    cli: Cli, study_file: StudyFile, tmp_path: Path, options: list[str], message: str
) -> None:
    study = study_file(privacy=SAMPLE)
    assert cli("run", study, "--out", "a", "--ledger", "adult.ledger").code == 0
    before = (tmp_path / "adult.ledger").read_bytes()
    said = cli("run", study, "--out", "b", "--ledger", "adult.ledger", *options)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert message.format(tmp_path) in said.err
    assert (tmp_path / "adult.ledger").read_bytes() == before
    assert not (tmp_path / "b").exists()


def test_a_run_is_resumed_on_the_ledger_it_has(cli: Cli) -> None:
    said = cli("run", "--resume", "there", "--ledger", "j")
    assert said.code == 2
    assert "give it alone" in said.err
