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
from accord.data.sources.sites import cut_rows, schema_shape, stand_in
from accord.data.sources.table import load_csv

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


def rows(count: int = 30) -> list[dict[str, str]]:
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
        test = cut_rows("people", town, len(own), 0.2)
        assert test.sum() == 2
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


def test_the_cut_is_the_same_for_every_seed_and_another_for_every_site() -> None:
    assert cut_rows("people", "Ulm", 50, 0.2).tolist() == cut_rows("people", "Ulm", 50, 0.2).tolist()
    assert cut_rows("people", "Ulm", 50, 0.2).tolist() != cut_rows("people", "Bonn", 50, 0.2).tolist()
    assert cut_rows("people", "Ulm", 50, 0.2).tolist() != cut_rows("visits", "Ulm", 50, 0.2).tolist()
    assert [int(cut_rows("people", "Ulm", n, 0.2).sum()) for n in (2, 3, 10, 13)] == [1, 1, 2, 3]
    assert int(cut_rows("people", "Ulm", 2, 0.9).sum()) == 1
    with pytest.raises(DataError, match="Ulm has 1 rows"):
        cut_rows("people", "Ulm", 1, 0.2)


def test_a_test_row_of_one_study_is_a_training_row_of_none(tmp_path: Path) -> None:
    """Where missing values leave rows out, studies of other columns keep other rows, and cut them alike."""
    table = rows(240)
    for at, row in enumerate(table):
        row["age"] = str(20 + at / 4)  # tells the rows apart
        row["hired"] = row["hired"] if at % 4 else ""
    more = {name: value for name, value in SCHEMA.items() if name != "fill"} | {"missing": "drop"}
    fewer = {name: value for name, value in more.items() if name != "dates"}
    path = written(tmp_path / "people.csv", table)
    simulation = {"path": path, "site": "town"}
    one, other = (load_data(section(schema, simulation=simulation), seed=0) for schema in (more, fewer))
    ages = [{round(age, 6) for age in part.x[:, 0].tolist()} for part in (one.test, other.train, other.test)]
    assert ages[0] & ages[1] == set()
    assert ages[0] < ages[2]


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
