"""How many rows are left out is said once to whoever reads the table."""

from pathlib import Path

import pandas as pd
import pytest

import accord
from accord.config.data import CsvData
from accord.data.load import kept_data, load_data

TABLE = "age,ill\n1,0\n,1\n3,1\n4,0\n5,1\n?,0\n7,1\n"


def test_it_is_said_when_a_table_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text(TABLE)
    section = CsvData(name="csv", path=str(tmp_path / "t.csv"), target="ill", missing="drop", test_fraction=0.4)
    with kept_data():
        assert load_data(section, 0).left_out == load_data(section, 1).left_out == 2
    assert capsys.readouterr().err == "accord: data csv: 2 of 7 rows have missing values and are left out\n"


def test_frames_say_it_too_and_whole_ones_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"age": [1, 2, 3, None], "ill": [0, 1, 0, 1]})
    assert accord.from_pandas(frame, frame, label="ill", missing="drop").left_out == 2
    assert "2 of 8 rows" in capsys.readouterr().err
    accord.from_pandas(frame[:3], frame[:3], label="ill", missing="drop")
    assert capsys.readouterr().err == ""
