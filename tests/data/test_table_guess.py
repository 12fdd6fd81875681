"""What columns look like."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from accord.core.errors import DataError
from accord.data.table_guess import GuessedTable, guess_label, guess_table

ROWS = 60


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "patient_id": np.arange(1000, 1000 + ROWS),
            "serial": rng.permutation(ROWS),
            "visited": pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"),
            "age": rng.integers(20, 80, ROWS),
            "dose": rng.normal(size=ROWS),
            "sex": rng.choice(["f", "m"], ROWS),
            "ward": rng.choice(["01", "02", "10"], ROWS),
            "zip": rng.choice([53111, 50667], ROWS),
            "note": [f"free text number {row}" for row in range(ROWS)],
            "country": "DE",
            "nothing": np.nan,
            "gap": [None if row % 7 == 0 else "ab"[row % 2] for row in range(ROWS)],
            "ill": rng.choice(["no", "yes"], ROWS),
        }
    )


KINDS = {
    "patient_id": "id",
    "serial": "id",
    "visited": "date",
    "age": "number",
    "dose": "number",
    "sex": "category",
    "ward": "category",
    "zip": "category",
    "note": "id",
    "country": "constant",
    "nothing": "empty",
    "gap": "category",
    "ill": "category",
}


@pytest.mark.parametrize("kind", ["csv", "semicolons", "parquet"])
def test_kinds_of_columns(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("t.parquet" if kind == "parquet" else "t.csv")
    if kind == "parquet":
        frame().to_parquet(path)
    else:
        frame().to_csv(path, sep=";" if kind == "semicolons" else ",", index=kind == "csv")
    table = guess_table(path)
    found = {column.name: column.kind for column in table.columns}
    assert found == ({"Unnamed: 0": "index"} if kind == "csv" else {}) | KINDS
    assert table.rows == ROWS
    age, gap = table.column("age"), table.column("gap")
    assert age is not None
    assert age.bounds == (frame()["age"].min(), frame()["age"].max())
    assert gap is not None
    assert (gap.missing, gap.values) == (9, ("b", "a"))
    assert [column.name for column in table.columns if column.sensitive] == ["sex"]
    assert guess_label(table) == "ill"


def test_the_label_is_what_is_called_so_or_has_few_values(tmp_path: Path) -> None:
    def label(text: str) -> str | None:
        (tmp_path / "t.csv").write_text(text)
        return guess_label(guess_table(tmp_path / "t.csv"))

    assert label("Target,x\n1,2\n0,3\n") == "Target"
    assert label("x,kind\n1,a\n2,b\n") == "kind"
    many = "".join(f"{row},{row / 7}\n" for row in range(30))
    assert label("x,z\n" + many) is None


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        guess_table(tmp_path / "none.csv")
    assert GuessedTable(tmp_path, ",", 0, ()).column("x") is None


def test_a_topic_in_the_middle_is_no_label_before_a_last_column_of_few_values(tmp_path: Path) -> None:
    lines = ["age,income,approved", *(f"{20 + i},{1000 + 7 * i},{'yes' if i % 3 else 'no'}" for i in range(40))]
    (tmp_path / "loans.csv").write_text("\n".join(lines))
    assert guess_label(guess_table(tmp_path / "loans.csv")) == "approved"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_column_that_is_there_twice_is_named(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,a,y\n1,2,no\n3,4,yes\n".replace(",", delimiter))
    with pytest.raises(DataError, match="column 'a' is there twice; give each column a name of its own"):
        guess_table(path)
