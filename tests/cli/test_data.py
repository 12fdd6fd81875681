"""`accord data partition`: prints and plots a partition."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
StudyFile = Callable[..., Path]


def test_prints_and_plots(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file())
    assert said.code == 0
    assert said.out.splitlines()[-1] == "plot: study-partition.svg"
    assert "<svg" in (tmp_path / "study-partition.svg").read_text()
    assert "50" in said.out


def test_png_and_overrides(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file(), "--set", "partition.num_partitions=3", "--plot", "who.png")
    assert said.code == 0
    assert (tmp_path / "who.png").read_bytes().startswith(b"\x89PNG")


def test_no_file_is_written_over(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    first = tmp_path / "study-partition.svg"
    first.write_text("mine")
    said = cli("data", "partition", study_file())
    assert said.code == 0
    assert first.read_text() == "mine"
    assert said.out.splitlines()[-1] == "plot: study-partition-2.svg"
    assert "<svg" in (tmp_path / "study-partition-2.svg").read_text()
    said = cli("data", "partition", study_file(), "--plot", "study-partition.svg")
    assert said.code == 2
    assert "study-partition.svg: the file exists already" in said.err
    assert first.read_text() == "mine"


def test_json(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    said = cli("data", "partition", study_file(), "--json")
    assert sum(client["rows"] for client in json.loads(said.out)["clients"]) == 300
    assert not (tmp_path / "study-partition.svg").exists()


@pytest.mark.parametrize("plot", ["who.txt", "no/such/folder/who.svg"])
def test_a_plot_that_cannot_be_written_is_one_line(cli: Cli, study_file: StudyFile, plot: str) -> None:
    said = cli("data", "partition", study_file(), "--plot", plot)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1


# --- list and show ------------------------------------------------------------------------------------


def one_object(said: Any) -> dict[str, Any]:
    """What `--json` printed: one JSON object and nothing else."""
    assert said.code == 0
    (line,) = said.out.splitlines()
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def narrow(text: str) -> bool:
    return all(len(line.rstrip()) <= 80 for line in text.splitlines())


@pytest.fixture
def no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without data but what a test puts into the folder."""
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "data"


def test_list_names_every_data_set_and_whether_it_is_here(cli: Cli, no_files: Path) -> None:
    from accord.config.sections import SECTIONS

    said = cli("data", "list")
    assert said.code == 0
    assert narrow(said.out)
    lines = {line.split()[0]: line.split() for line in said.out.splitlines()[1:] if not line.startswith(" ")}
    assert set(SECTIONS["data"].names) <= set(lines)
    assert lines["mnist"][-1] == "no"
    assert lines["digits"][-1] == "-"
    listed = one_object(cli("data", "list", "--json"))["data"]
    assert [entry["name"] for entry in listed] == list(lines)[: len(listed)]
    mnist = next(entry for entry in listed if entry["name"] == "mnist")
    assert mnist["found"] is False
    assert "cvdf-datasets" in mnist["get"]


def test_show_says_how_to_get_what_is_not_here(cli: Cli, no_files: Path) -> None:
    said = cli("data", "show", "adult")
    assert said.code == 0
    assert narrow(said.out)
    assert "CC BY 4.0" in said.out
    assert "https://archive.ics.uci.edu/dataset/2/adult" in said.out
    assert one_object(cli("data", "show", "adult", "--json"))["files"] == []


def test_show_has_a_checksum_of_each_file_beside_the_published_one(cli: Cli, no_files: Path) -> None:
    import hashlib

    (no_files / "adult").mkdir(parents=True)
    for name in ("adult.data", "adult.test"):
        (no_files / "adult" / name).write_text(name)
    values = one_object(cli("data", "show", "adult", "--json"))
    digest = hashlib.sha256(b"adult.data").hexdigest()
    assert values["files"][0] == {
        "file": "adult.data",
        "path": str(no_files / "adult" / "adult.data"),
        "sha256": digest,
        "published_sha256": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    }
    said = cli("data", "show", "adult")
    assert f"sha256    {digest}\npublished 5b002646" in said.out
    assert narrow(said.out)


def test_show_of_a_study_counts_what_it_reads(cli: Cli, study_file: StudyFile) -> None:
    values = one_object(cli("data", "show", study_file(), "--json"))
    assert values["rows"] == {"train": 300, "test": 120}
    assert values["features"] == [6]
    assert sum(count["train"] for count in values["classes"].values()) == 300
    assert sum(count["test"] for count in values["groups"]["group"].values()) == 120
    said = cli("data", "show", study_file(), "--set", "data.classes=40")
    assert said.code == 0
    assert narrow(said.out)
    assert "and 28 more" in said.out
    assert "300 + 120, training + test" in said.out


def test_show_of_a_table_says_what_was_read_off_its_rows(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("age,pay\n" + "".join(f"{20 + row},{'low' if row % 2 else 'high'}\n" for row in range(20)))
    path = study_file(data={"name": "csv", "path": str(table), "target": "pay"})
    values = one_object(cli("data", "show", path, "--json"))
    assert values["read_off_training_rows"] == ["the range of age", "the values of pay"]
    assert values["files"][0]["path"] == str(table)
    assert values["classes"]["high"]["train"] + values["classes"]["high"]["test"] == 10
    assert "private studies refuse it" in " ".join(cli("data", "show", path).out.split())


def test_what_a_users_function_prints_is_not_in_the_json(cli: Cli, study_file: StudyFile, tmp_path: Path) -> None:
    (tmp_path / "chatty_rows.py").write_text(
        "import numpy as np\n\n\ndef make():\n    print('reading')\n    x = np.ones((4, 2), dtype='float32')\n"
        "    return x, np.arange(4) % 2, x, np.arange(4) % 2\n"
    )
    path = study_file(data={"name": "custom", "function": "chatty_rows:make"})
    assert one_object(cli("data", "show", path, "--json"))["name"] == "custom"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mnits"], "unknown data 'mnits'; did you mean 'mnist'? (one of: digits, mnist,"),
        (["none.yaml"], "none.yaml: there is no such study file"),
        (["mnist", "--set", "seed=1"], "--set belongs to a study's file"),
    ],
)
def test_what_show_does_not_know_is_one_line(cli: Cli, words: list[str], message: str) -> None:
    said = cli("data", "show", *words)
    assert said.code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def test_a_number_to_predict_has_a_range_and_no_classes(cli: Cli, study_file: StudyFile) -> None:
    path = study_file(data="diabetes", model="linear", fairness={"groups": ["sex"]})
    values = one_object(cli("data", "show", path, "--json"))
    assert "classes" not in values
    assert (values["target"]["train"]["min"], values["target"]["train"]["max"]) == (25.0, 346.0)
    said = cli("data", "show", path)
    assert "target    a number, in training rows from 25.00 to 346.0, 154" in said.out
    assert narrow(said.out)
    held = cli("data", "partition", path)
    assert held.code == 0
    assert "label" not in held.out
