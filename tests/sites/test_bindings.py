"""A site's rows read by a study's schema; what is wrong with them is its owner's to know, and not the requester's."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from accord.config.load import make_study
from accord.config.sites_data import SitesData
from accord.core.errors import DataError, FederationError
from accord.sites.bindings import bound_rows, read_binding, site_rows
from accord.sites.refused import RefusedError
from sites.hospitals import SCHEMA, SITES, Hospitals


def asked(schema: dict[str, Any], data_set: str = "stays") -> SitesData:
    made = make_study({"data": {"name": "sites", "data_set": data_set, "schema": schema}}).data
    assert isinstance(made, SitesData)
    return made


def changed(path: Path, folder: Path, pattern: str, by: str, rows: str | None = None) -> Path:
    """A description like the one at `path`, with something else in it or in its rows."""
    folder.mkdir(exist_ok=True)
    described, found = re.subn(pattern, by, path.read_text(encoding="utf-8"))
    assert found or rows is not None
    (folder / "site-data.yaml").write_text(described, encoding="utf-8")
    own = (path.parent / "export.csv").read_text(encoding="utf-8") if rows is None else rows
    (folder / "export.csv").write_text(own, encoding="utf-8")
    return folder / "site-data.yaml"


def test_columns_have_the_schemas_names(hospitals: Hospitals) -> None:
    rows = site_rows(read_binding(hospitals.bindings["north"]), asked(SCHEMA), "north", SITES)
    assert rows.train.names == SITES
    here = rows.train.sizes() + rows.test.sizes()
    assert here.tolist() == [0, 60, 0]
    assert 4 <= rows.test.sizes()[1] <= 24
    lines = (hospitals.bindings["north"].parent / "export.csv").read_text().splitlines()[1:]
    ages = sorted((float(line.split(";")[0]) - 18) / 82 for line in lines)
    both = torch.cat([rows.data.train.x[:, 0], rows.data.test.x[:, 0]])
    np.testing.assert_allclose(sorted(both.tolist()), ages, rtol=1e-6)


def test_parquet_rows_are_those_of_the_text(hospitals: Hospitals, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = hospitals.bindings["north"]
    pd.read_csv(path.parent / "export.csv", sep=";").to_parquet(tmp_path / "export.parquet")
    described = changed(
        path, tmp_path, r"name: csv\n  path: export.csv\n  delimiter: ';'", "name: parquet\n  path: export.parquet"
    )
    one, other = (site_rows(read_binding(each), asked(SCHEMA), "north", SITES) for each in (path, described))
    assert torch.equal(one.data.train.x, other.data.train.x)
    assert torch.equal(one.data.test.y, other.data.test.y)


def test_a_study_may_use_fewer_columns_and_ask_another_class(hospitals: Hospitals) -> None:
    fewer = {
        "target": "ward",
        "ranges": {"age": [18, 100]},
        "categories": {"ward": ["a", "b"], "sex": ["f", "m"]},
        "groups": ["sex"],
    }
    rows = site_rows(read_binding(hospitals.bindings["north"]), asked(fewer), "north", SITES)
    assert rows.data.train.x.shape[1] == 1
    assert rows.data.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ranges": {"age": [0, 100], "stay": [0, 60]}}, "schema.ranges.age is another here"),
        ({"ranges": {"age": [18, 100], "weight": [0, 60]}}, "no 'weight' is declared here"),
        ({"categories": {**SCHEMA["categories"], "sex": ["m", "f"]}}, "schema.categories.sex is another here"),
        ({"test_fraction": 0.5}, "schema.test_fraction is 0.2 here"),
        ({"missing": "drop"}, "schema.missing is refuse here"),
        ({"clamp": True}, "schema.clamp is False here"),
        ({"target": "age", "target_kind": "number", "ranges": {"stay": [0, 60]}}, "no number to predict here"),
        ({"groups": ["sex", "ward"]}, "'ward' is no group here"),
        ({"bins": {"age": [40]}}, "schema.bins: no 'age' is declared"),
    ],
)
def test_another_schema_is_refused(change: dict[str, Any], told: str, hospitals: Hospitals) -> None:
    with pytest.raises(RefusedError, match=re.escape(told)) as refused:
        site_rows(read_binding(hospitals.bindings["north"]), asked({**SCHEMA, **change}), "north", SITES)
    assert refused.value.code == "schema"


def test_another_data_set_is_refused(hospitals: Hospitals) -> None:
    with pytest.raises(RefusedError, match="no data set 'bills'") as refused:
        site_rows(read_binding(hospitals.bindings["north"]), asked(SCHEMA, "bills"), "north", SITES)
    assert refused.value.code == "data_set"


def test_a_wrong_row_is_named_to_its_owner_and_to_nobody_else(hospitals: Hospitals, tmp_path: Path) -> None:
    rows = "Alter;Tage;ward;sex;back\n30;4;a;f;no\n950;4;a;f;no\n"
    rows += "".join(f"{age};5;b;m;yes\n" for age in range(20, 60))
    binding = read_binding(changed(hospitals.bindings["north"], tmp_path, "x^", "", rows))
    with pytest.raises(DataError, match=r"export.csv: line 3: age 950 is outside"):
        bound_rows(binding, "north")
    with pytest.raises(RefusedError) as refused:
        site_rows(binding, asked(SCHEMA), "north", SITES)
    assert refused.value.code == "data_set"
    assert refused.value.reason == "the rows of stays cannot be read; north knows why"
    assert "950" in str(refused.value.__cause__)


@pytest.mark.parametrize(
    ("pattern", "by", "told"),
    [
        ("name: csv", "name: excel", "source"),
        ("delimiter: ';'", "delimitr: ';'", "source.csv.delimitr"),
        ("data_set: stays", "data_set: ../stays", "data_set"),
        (r"ranges: \{age: \[18, 100\], stay: \[0, 60\]\}", "ranges: {age: [100, 18]}", "'age' needs"),
        ("data_set: stays", "data_set: [", "site-data.yaml"),
    ],
)
def test_a_wrong_description_is_told_in_a_line(
    pattern: str, by: str, told: str, hospitals: Hospitals, tmp_path: Path
) -> None:
    with pytest.raises(FederationError, match=re.escape(told)) as error:
        read_binding(changed(hospitals.bindings["north"], tmp_path, pattern, by))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pattern", "by", "told"),
    [("Alter: age", "Aler: age", "no column 'Aler'"), ("Tage: stay", "Tage: age", "two columns are called 'age'")],
)
def test_columns_are_renamed_one_to_one(pattern: str, by: str, told: str, hospitals: Hospitals, tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=told):
        bound_rows(read_binding(changed(hospitals.bindings["north"], tmp_path, pattern, by)), "north")


def test_a_function_of_the_sites_own_gives_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pictures.py").write_text(
        "import numpy as np\n"
        "def rows(n):\n"
        "    x = np.random.default_rng(0).random((n, 1, 2, 2), dtype=np.float32)\n"
        "    y = np.arange(n) % 2\n"
        "    return {'x_train': x[4:], 'y_train': y[4:], 'x_test': x[:4], 'y_test': y[:4]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "site-data.yaml").write_text(
        "data_set: scans\n"
        "schema: {target: ill, shape: [1, 2, 2], categories: {ill: ['no', 'yes']}}\n"
        "source: {name: function, function: 'own_pictures:rows', settings: {n: 10}, paths: ['.']}\n"
    )
    binding = read_binding(tmp_path / "site-data.yaml")
    assert binding.function == "own_pictures:rows"
    assert binding.paths == (tmp_path.resolve(),)
    schema = {"target": "ill", "shape": [1, 2, 2], "categories": {"ill": ["no", "yes"]}}
    rows = site_rows(binding, asked(schema, "scans"), "b", ("a", "b"))
    assert rows.train.sizes().tolist() == [0, 6]
    assert rows.data.class_names == ("no", "yes")


def test_rows_of_one_id_stay_where_they_are_when_rows_come_and_go(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    schema = {"target": "back", "id": "patient", "ranges": {"age": [0, 120]}, "categories": {"back": ["no", "yes"]}}
    rows = [(f"p{number % 120}", int(rng.integers(0, 120)), rng.choice(["no", "yes"])) for number in range(300)]

    def parts(own: list[tuple[str, int, str]]) -> tuple[set[int], set[int]]:
        """The ages, each a patient's own here, of training and test rows."""
        (tmp_path / "rows.csv").write_text(
            "patient,age,back\n" + "".join(f"{name},{int(name[1:])},{back}\n" for name, _, back in own)
        )
        (tmp_path / "site-data.yaml").write_text(
            json.dumps({"data_set": "stays", "schema": schema, "source": {"name": "csv", "path": "rows.csv"}})
        )
        data = bound_rows(read_binding(tmp_path / "site-data.yaml"), "north")
        found = tuple({round(float(x) * 120) for x in part.x[:, 0]} for part in (data.train, data.test))
        return found[0], found[1]

    train, test = parts(rows)
    assert not train & test
    assert len(train | test) == 120
    assert 10 <= len(test) <= 40
    more = [(f"p{number}", 0, "no") for number in range(119, 60, -1)]
    later_train, later_test = parts([*more, *rows[::-1][:200]])
    assert not later_train & test
    assert not later_test & train


@pytest.mark.parametrize(
    ("table", "id_", "message"),
    [
        ("age,back\n1,no\n2,yes\n", "patient", "schema.id: the table has no column 'patient'"),
        ("patient,age,back\np1,1,no\n,2,yes\n", "patient", "line 3 has no patient; each row needs an id"),
    ],
)
def test_rows_without_an_id_are_refused(tmp_path: Path, table: str, id_: str, message: str) -> None:
    schema = {"target": "back", "id": id_, "ranges": {"age": [0, 120]}, "categories": {"back": ["no", "yes"]}}
    (tmp_path / "rows.csv").write_text(table)
    (tmp_path / "site-data.yaml").write_text(
        json.dumps({"data_set": "stays", "schema": schema, "source": {"name": "csv", "path": "rows.csv"}})
    )
    with pytest.raises(DataError, match=message):
        bound_rows(read_binding(tmp_path / "site-data.yaml"), "north")


SCANS = {"target": "ill", "shape": [1, 4, 4], "categories": {"ill": ["no", "yes"]}}


def scans(folder: Path, schema: dict[str, Any], per_class: int = 20) -> Path:
    """A description of grey pictures, those of the ill brighter, in a folder for each class."""
    rng = np.random.default_rng(0)
    for name, least in (("no", 0), ("yes", 128)):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(least, least + 128, (4, 4), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    source = {"name": "images", "path": "pictures"}
    described = {"data_set": "scans", "schema": schema, "source": source}
    (folder / "site-data.yaml").write_text(json.dumps(described))
    return folder / "site-data.yaml"


def test_a_folder_of_pictures_by_class(tmp_path: Path) -> None:
    binding = read_binding(scans(tmp_path, SCANS))
    assert binding.paths == (tmp_path.resolve() / "pictures",)
    rows = site_rows(binding, asked(SCANS, "scans"), "b", ("a", "b"))
    train, test = rows.data.train, rows.data.test
    assert len(train) + len(test) == 40
    assert 2 <= len(test) <= 16
    assert train.x.shape[1:] == (1, 4, 4)
    assert 0 <= float(train.x.min()) <= float(train.x.max()) <= 1
    assert torch.equal((train.x.flatten(1).mean(1) > 0.5).long(), train.y)
    # Another picture moves none of the others.
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "pictures" / "no" / "later.png")
    more = site_rows(binding, asked(SCANS, "scans"), "b", ("a", "b"))
    assert {row.tobytes() for row in test.x.numpy()} <= {row.tobytes() for row in more.data.test.x.numpy()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [2, 4, 4]}, "needs a shape of"),
        ({"shape": [1, 5, 5]}, "4x4 pixels, but the model takes 5x5"),
        ({"categories": {"ill": ["no", "perhaps", "yes"]}}, "no folder 'perhaps'"),
        ({"categories": {"ill": ["no", "never"]}}, "no folder 'never'"),
        ({"test_fraction": 1e-9}, "of 40 rows of scans without missing values at b, none is drawn to test on"),
    ],
)
def test_pictures_that_the_schema_does_not_describe(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        bound_rows(read_binding(scans(tmp_path, SCANS | change)), "b")


def test_a_folder_that_is_no_class(tmp_path: Path) -> None:
    path = scans(tmp_path, SCANS)
    (tmp_path / "pictures" / "maybe").mkdir()
    with pytest.raises(DataError, match=r"'maybe' is no class of schema.categories.ill"):
        bound_rows(read_binding(path), "b")
