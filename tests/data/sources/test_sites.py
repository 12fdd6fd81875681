from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.data import CsvData
from accord.config.load import make_study
from accord.config.partition import NaturalPartition
from accord.config.sites_data import SitesData
from accord.core.errors import DataError, StudyError
from accord.data.load import deal, load_data
from accord.data.prepare import check_stated
from accord.data.sources.site_cut import cut_kept, is_tested, names_of
from accord.data.sources.sites import schema_shape, stand_in
from accord.data.sources.table import load_csv
from accord.data.sources.table_file import open_table

BY_SITE = NaturalPartition(name="natural", partition_by="site")
TOWNS = ("Ulm", "Bonn", "Aalen")
SCHEMA: dict[str, Any] = {
    "target": "pay",
    "ranges": {"age": [0, 100]},
    "dates": {"hired": "cyclic"},
    "categories": {"pay": ["low", "high"], "job": ["clerk", "cook"], "sex": ["f", "m"]},
    "groups": ["sex"],
    "bins": {"hours": [20]},
    "missing": "category",
    "fill": {"age": 40},
}


def rows(count: int = 120) -> list[dict[str, str]]:
    rng = np.random.default_rng(5)
    return [
        {
            "town": TOWNS[row % 3],
            "age": str(rng.integers(20, 70)),
            "hired": f"20{row % 20:02}-03-04",
            "job": ("clerk", "cook", "?")[rng.integers(3)],
            "sex": "fm"[rng.integers(2)],
            "hours": str(rng.integers(10, 40)),
            "pay": ("low", "high")[rng.integers(2)],
        }
        for row in range(count)
    ]


def written(path: Path, table: list[dict[str, str]]) -> str:
    lines = [",".join(table[0]), *(",".join(row.values()) for row in table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def section(schema: dict[str, Any], **more: Any) -> SitesData:
    made = make_study({"data": {"name": "sites", "data_set": "people", "schema": schema, **more}}).data
    assert isinstance(made, SitesData)
    return made


def simulated(tmp_path: Path, table: list[dict[str, str]], **schema: Any) -> SitesData:
    path = written(tmp_path / "people.csv", table)
    return section({**SCHEMA, **schema}, simulation={"path": path, "site": "town"})


def test_the_clients_are_the_sites_by_name_each_with_its_own_test_rows(tmp_path: Path) -> None:
    table = rows()
    data = load_data(simulated(tmp_path, table), seed=3)
    federated = deal(data, BY_SITE, seed=3)
    assert federated.train.names == tuple(sorted(TOWNS))
    for client, town in enumerate(sorted(TOWNS)):
        # The features of the site's rows alone, computed by the loader of tables from a file that holds no others.
        own = [{k: v for k, v in row.items() if k != "town"} for row in table if row["town"] == town]
        names = names_of(open_table(Path(written(tmp_path / "own.csv", own))), section(SCHEMA).schema)
        test = is_tested("people", town, names, 0.2)
        parts = [[row for row, tested in zip(own, test, strict=True) if tested == part] for part in (False, True)]
        alone = load_csv(
            CsvData.model_validate(
                {k: tuple(v) if isinstance(v, list) else v for k, v in SCHEMA.items()}
                | {
                    "name": "csv",
                    "path": written(tmp_path / "train.csv", parts[0]),
                    "test_path": written(tmp_path / "test.csv", parts[1]),
                    "features": ("age", "hired", "job"),
                }
            )
        )
        for mine, its, shares in (
            (data.train, alone.train, federated.train),
            (data.test, alone.test, federated.test),
        ):
            index = torch.from_numpy(shares.rows(client))
            assert torch.equal(mine.x[index], its.x)
            assert torch.equal(mine.y[index], its.y)
            assert mine.groups["sex"].codes[shares.rows(client)].tolist() == its.groups["sex"].codes.tolist()


def test_the_cut_is_another_for_every_site_data_set_and_secret() -> None:
    names = [str(number).encode() for number in range(400)]
    cuts = [
        is_tested(data_set, site, names, 0.2, key).tolist()
        for data_set, site, key in (
            ("people", "Ulm", b""), ("people", "Bonn", b""), ("visits", "Ulm", b""), ("people", "Ulm", b"secret"),
        )
    ]  # fmt: skip
    assert len({tuple(cut) for cut in cuts}) == 4
    # Five standard deviations of 400 draws with probability 0.2.
    assert all(40 <= sum(cut) <= 120 for cut in cuts)
    assert cuts[0] == is_tested("people", "Ulm", names, 0.2).tolist()


def test_a_site_without_rows_on_both_sides_is_told_so() -> None:
    some = np.arange(2)
    with pytest.raises(DataError, match="of 2 rows of people without missing values at Ulm, none is drawn to test on"):
        cut_kept("people", "Ulm", [b"a", b"b"], some, some, 1e-9)
    with pytest.raises(DataError, match="none is drawn to train on"):
        cut_kept("people", "Ulm", [b"a", b"b"], some, some, 1 - 1e-9)
    with pytest.raises(DataError, match="of 0 rows"):
        cut_kept("people", "Ulm", [b"a", b"b"], some, some[:0], 0.5)


def sides(
    path: Path, table: list[dict[str, str]], schema: dict[str, Any] = SCHEMA
) -> dict[tuple[tuple[str, str], ...], bool]:
    """Whether each row, by its values, is a test row."""
    names = names_of(open_table(Path(written(path, table))), section(schema).schema)
    tested = is_tested("people", "Ulm", names, 0.3, b"secret").tolist()
    found: dict[tuple[tuple[str, str], ...], bool] = {}
    for row, side in zip(table, tested, strict=True):
        assert found.setdefault(tuple(sorted(row.items())), side) is side, "rows that are alike are on one side"
    return found


def test_a_row_stays_on_its_side_whatever_rows_there_are_besides(tmp_path: Path) -> None:
    table = rows(200)
    before = sides(tmp_path / "a.csv", table)
    rng = np.random.default_rng(1)
    others = [{**row, "age": str(70 + at % 20)} for at, row in enumerate(rows(60))]
    for number, changed in enumerate(
        (
            [*table, *others],
            [*others, *table],
            [table[at] for at in rng.permutation(200)],
            table[::3],
            [*table, *table],
            [dict(reversed(row.items())) for row in table],
        )
    ):
        after = sides(tmp_path / f"{number}.csv", changed)
        assert {row: side for row, side in after.items() if row in before} == {
            row: side for row, side in before.items() if row in after
        }
        assert before.keys() & after.keys()


def test_another_spelling_of_a_row_is_the_same_row_and_undeclared_columns_do_not_count(tmp_path: Path) -> None:
    table = [{**row, "job": row["job"].replace("?", "")} for row in rows(60)]
    spelled = [
        {**row, "age": f"{row['age']}.0", "job": row["job"] or "NA", "exported": str(at)}
        for at, row in enumerate(table)
    ]
    one, other = (
        names_of(open_table(Path(written(tmp_path / "rows.csv", each))), section(SCHEMA).schema)
        for each in (table, spelled)
    )
    assert one == other
    # Every declared column counts.
    for column in ("age", "hired", "job", "sex", "hours", "pay"):
        changed = [{**row, column: table[(at + 1) % 60][column]} for at, row in enumerate(table)]
        names = names_of(open_table(Path(written(tmp_path / "rows.csv", changed))), section(SCHEMA).schema)
        moved = [row[column] != old[column] for row, old in zip(changed, table, strict=True)]
        assert [name != old for name, old in zip(names, one, strict=True)] == moved


def test_nothing_is_read_off_the_rows(tmp_path: Path) -> None:
    data = load_data(simulated(tmp_path, rows()), seed=0)
    check_stated(data)
    assert data.derived == ()


def test_the_schema_alone_tells_what_the_rows_have(tmp_path: Path) -> None:
    part = simulated(tmp_path, rows())
    told, data = schema_shape(part), load_data(part, seed=0)
    assert told.shape == tuple(data.train.x.shape[1:]) == (1 + 4 + 3,)
    assert told.class_names == data.class_names
    assert told.groups == {name: one.names for name, one in data.train.groups.items() if name != "site"}
    assert told.groups == {"sex": ("f", "m", "missing"), "hours": ("<20", ">=20", "missing")}
    assert not told.regression
    assert told.preprocessing is not None
    assert data.preprocessing is not None
    assert told.preprocessing.input.columns == data.preprocessing.input.columns  # type: ignore[union-attr]


def test_no_file_is_opened_for_the_schema(tmp_path: Path) -> None:
    part = section(SCHEMA, simulation={"path": str(tmp_path / "none.csv"), "site": "town"})
    stood = stand_in(part)
    assert stood.train.x.shape == (1, 8)
    assert set(stood.test.groups) == {"sex", "hours"}


def test_a_number_to_predict_has_no_classes() -> None:
    told = schema_shape(section({"target": "pay", "target_kind": "number", "ranges": {"age": [0, 100]}}))
    assert told.regression
    assert told.class_names == ()
    assert stand_in(section({"target": "pay", "target_kind": "number", "ranges": {"age": [0, 100]}})).regression


def test_without_rows_a_simulation_is_refused() -> None:
    with pytest.raises(DataError, match="rows of people are at the sites"):
        load_data(section(SCHEMA), seed=0)


def test_a_column_of_sites_with_another_role_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "people.csv", rows())
    with pytest.raises(StudyError, match="'age' is the target, a feature"):
        load_data(section(SCHEMA, simulation={"path": path, "site": "age"}), seed=0)
    with pytest.raises(StudyError, match="no column 'twon'; did you mean 'town'"):
        load_data(section(SCHEMA, simulation={"path": path, "site": "twon"}), seed=0)


def test_a_site_can_be_a_group_too(tmp_path: Path) -> None:
    schema = {**SCHEMA, "groups": ["town"], "categories": {**SCHEMA["categories"], "town": list(TOWNS)}}
    part = section(schema, simulation={"path": written(tmp_path / "people.csv", rows()), "site": "town"})
    data = load_data(part, seed=0)
    assert data.train.groups["town"].names == (*TOWNS, "missing")
    federated = deal(data, BY_SITE, seed=0)
    assert federated.train.names == tuple(sorted(TOWNS))
    for client, town in enumerate(sorted(TOWNS)):
        assert {TOWNS[code] for code in data.train.groups["town"].codes[federated.train.rows(client)]} == {town}


PICTURES = {
    "target": "digit",
    "shape": [1, 2, 2],
    "categories": {"digit": ["0", "1"], "ink": ["thin", "bold"]},
    "groups": ["ink"],
}
MODULE = """
import numpy as np

def rows(site=None, shape=(1, 2, 2), inks=("bold", "thin")):
    rng = np.random.default_rng(1)
    x = rng.random((12, *shape), dtype=np.float32)
    y = rng.integers(2, size=12)
    groups = {"clinic": np.array(["b", "a"] * 6), "ink": np.array(list(inks) * 6)}
    return {
        "x_train": x[:8], "y_train": y[:8], "x_test": x[8:], "y_test": y[8:],
        "groups_train": {k: v[:8] for k, v in groups.items()}, "groups_test": {k: v[8:] for k, v in groups.items()},
    }
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "pictures_of_sites.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "pictures_of_sites:rows"


def test_a_function_gives_rows_of_a_shape(module: str) -> None:
    data = load_data(section(PICTURES, simulation={"function": module, "site": "clinic"}), seed=0)
    assert data.derived == ()
    assert data.train.groups["ink"].names == ("thin", "bold")
    assert data.train.groups["ink"].codes.tolist() == [1, 0] * 4
    assert set(data.train.groups) == {"ink", "site"}
    assert deal(data, BY_SITE, seed=0).train.names == ("a", "b")
    assert schema_shape(section(PICTURES)).shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"shape": [1, 2, 3]}, r"a row of x_train is \[1, 2, 3\]"),
        ({"inks": ["thin", "fat"]}, "'fat', none of schema.categories"),
    ],
)
def test_rows_that_do_not_fit_the_schema_are_refused(module: str, settings: dict[str, Any], told: str) -> None:
    part = section(PICTURES, simulation={"function": module, "site": "clinic", "settings": settings})
    with pytest.raises(DataError, match=told):
        load_data(part, seed=0)
