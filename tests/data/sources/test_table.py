import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import accord
from accord.config.data import AdultData, CsvData
from accord.config.load import dump_study, make_study, parse_study
from accord.core.errors import DataError, PrivacyError, StudyError
from accord.data.federated import DataSet
from accord.data.load import load_data
from accord.data.sources import table_features
from accord.data.sources.adult import COLUMNS, SCALES, VOCABULARIES, load_adult
from accord.data.sources.places import read_bytes
from accord.data.sources.table import load_csv
from accord.orchestration.prepare import prepare

REAL = os.environ.get("ACCORD_DATA")

PEOPLE = (
    "age,job,sex,town,pay\n"
    "20,cook,f,Bonn,low\n"
    "40,clerk,m,Ulm,high\n"
    "60,cook,f,Bonn,high\n"
    "30,guard,m,Bonn,low\n"
    "50,clerk,f,Ulm,low\n"
)
STATED: dict[str, Any] = {
    "ranges": {"age": [0, 100]},
    "categories": {
        "job": ["clerk", "cook", "guard"],
        "sex": ["f", "m"],
        "town": ["Ulm", "Bonn"],
        "pay": ["low", "high"],
    },
}
Load = Callable[..., DataSet]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the table of a text; the text of test rows is by default the same."""

    def load(text: str = PEOPLE, test: str | None = "same", **section: Any) -> DataSet:
        (tmp_path / "people.csv").write_text(text, encoding="utf-8")
        base: dict[str, Any] = {"name": "csv", "path": str(tmp_path / "people.csv"), "target": "pay"}
        if test is not None:
            (tmp_path / "held.csv").write_text(text if test == "same" else test, encoding="utf-8")
            base["test_path"] = str(tmp_path / "held.csv")
        return load_csv(CsvData.model_validate(base | {"categorical": ["job", "sex", "town"]} | section))

    return load


def group(data: DataSet, name: str) -> list[str]:
    column = data.train.groups[name]
    return [column.names[code] for code in column.codes]


def test_numbers_are_scaled_and_categories_one_hot(load: Load) -> None:
    data = load(groups=["sex"], **STATED)
    # age; then job clerk, cook, guard; then town Ulm, Bonn
    expected = [
        [0.2, 0, 1, 0, 0, 1],
        [0.4, 1, 0, 0, 1, 0],
        [0.6, 0, 1, 0, 0, 1],
        [0.3, 0, 0, 1, 0, 1],
        [0.5, 1, 0, 0, 1, 0],
    ]
    assert torch.equal(data.train.x, torch.tensor(expected))
    assert data.train.x.dtype == torch.float32
    assert data.train.y.tolist() == [0, 1, 1, 0, 0]
    assert data.class_names == ("low", "high")
    assert group(data, "sex") == ["f", "m", "f", "m", "f"]
    assert data.test.x.equal(data.train.x)
    assert data.derived == ()
    assert "people.csv and held.csv" in data.about


def test_what_is_not_stated_is_read_off_and_told(load: Load) -> None:
    test = PEOPLE.replace("60,cook", "80,pilot")
    data = load(test=test, groups=["sex"])
    assert data.train.x[:, 0].tolist() == [0, 0.5, 1, 0.25, 0.75]  # training rows run from 20 to 60
    assert data.test.x[2, 0] == 1.5
    assert data.train.x.shape == (5, 1 + 4 + 2)  # jobs of the test rows have a column too
    assert data.class_names == ("high", "low")
    assert set(data.derived) == {"the range of age"} | {
        f"the values of {name}" for name in ("job", "town", "pay", "sex")
    }


def test_classes_that_are_numbers_sort_as_numbers(load: Load) -> None:
    text = "age,pay\n1,10\n2,9\n3,100\n"
    assert load(text, categorical=[]).class_names == ("9", "10", "100")


# --- classes by name ----------------------------------------------------------------------------------


def test_numbers_that_are_equal_are_one_class(load: Load) -> None:
    text = "age,sex,pay\n1,1,0\n2,2,1\n3,1.0,1\n4,2,0.0\n"
    data = load(text, test=text.replace(",0\n", ",0.0\n").replace(",1\n", ",1.00\n"), categorical=[], groups=["sex"])
    assert data.class_names == ("0", "1")
    assert data.train.y.tolist() == data.test.y.tolist() == [0, 1, 1, 0]
    assert group(data, "sex") == ["1", "2", "1", "2"]


def test_codes_that_begin_with_a_zero_are_texts_and_stated_names_stay_apart(load: Load) -> None:
    text = "age,ward,pay\n1,01,low\n2,1,high\n3,1.10,low\n4,1.1,high\n"
    assert load(text, categorical=["ward"]).train.x.shape[1] == 1 + 4
    stated = load(text, categories={"ward": ["01", "1", "1.1", "1.10"]}, categorical=[])
    assert stated.train.x[:, 1:].argmax(1).tolist() == [0, 1, 3, 2]
    matched = load(text.replace("1.10", "1.0"), categories={"ward": ["01", "1", "1.1"]}, categorical=[])
    assert matched.train.x[:, 1:].argmax(1).tolist() == [0, 1, 1, 2]


def test_test_labels_that_no_training_row_has_stop_the_run(load: Load) -> None:
    test = PEOPLE.replace("low", "low.").replace("high", "high.")
    with pytest.raises(DataError, match=r"held\.csv: pay: 5 test rows have 'high\.', 'low\.', which no training row"):
        load(test=test)
    stated = STATED | {"categories": STATED["categories"] | {"pay": ["low", "high", "none"]}}
    assert load(test=PEOPLE.replace("low", "none"), **stated).test.y.tolist() == [2, 1, 1, 2, 2]


def test_integer_labels_are_coded(load: Load) -> None:
    text = "age,pay\n1,20240101\n2,20240102\n3,20240101\n"
    data = load(text, categorical=[])
    assert (data.class_names, data.train.y.tolist()) == (("20240101", "20240102"), [0, 1, 0])


@pytest.mark.parametrize("mark", ["nan", "NaN", "None", "<NA>", "NaT", ""])
def test_what_pandas_writes_for_a_missing_value_is_missing(load: Load, mark: str) -> None:
    for column, text in (("sex", PEOPLE.replace(",f,", f",{mark},")), ("pay", PEOPLE.replace("low", mark))):
        with pytest.raises(DataError, match=f"line 2: {column} is missing; .*data.categories.{column}"):
            load(text, missing_values=["-"], groups=["sex"])
    named = load(PEOPLE.replace("guard", mark), categories={"job": ["clerk", "cook", mark]})
    assert named.train.x[3, 3] == 1


# --- a frame's index ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "a", "Unnamed: 0"])
def test_a_frames_index_is_no_feature(load: Load, tmp_path: Path, name: str | None) -> None:
    frame = pd.read_csv(io.StringIO(PEOPLE))
    text = frame.to_csv() if name is None else frame.rename_axis(name).to_csv()
    data = load(text, groups=["sex"], **STATED)
    if name == "a":
        assert data.train.x.shape[1] == 7  # a name of one's own: text alone cannot say that it was an index
        return
    assert torch.equal(data.train.x, load(groups=["sex"], **STATED).train.x)
    assert data.about.endswith("The frame's index (Unnamed: 0) is no feature.")
    again = pd.read_csv(io.StringIO(text)).to_csv()  # written and read twice
    assert torch.equal(load(again, groups=["sex"], **STATED).train.x, data.train.x)
    assert load(text, features=["Unnamed: 0", "age"], **STATED).train.x[:, 0].tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_an_index_of_a_frame_in_parquet_is_no_feature(tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(PEOPLE))
    frame.index = pd.Index([3, 1, 4, 2, 0])
    for index in (None, "patient"):
        path = tmp_path / "people.parquet"
        frame.rename_axis(index).to_parquet(path)
        section = {"name": "csv", "path": str(path), "test_path": str(path), "target": "pay", **STATED}
        data = load_csv(CsvData.model_validate(section | {"groups": ["sex"]}))
        assert data.train.x.shape[1] == 1 + 3 + 2
        assert "__index_level_0__" in data.about or "patient" in data.about
    grouped = load_csv(CsvData.model_validate(section | {"groups": ["patient"]}))
    assert len(grouped.train.groups["patient"].names) == 5


def test_a_comma_at_each_lines_end_is_no_column(load: Load) -> None:
    plain = load(groups=["sex"], **STATED)
    for text in (PEOPLE.replace("\n", ",\n"), PEOPLE.replace("\n", ",\n").replace("pay,\n", "pay\n")):
        assert torch.equal(load(text, groups=["sex"], **STATED).train.x, plain.train.x)
    with pytest.raises(DataError, match=r"line 3 has 'x' in a column without a name"):
        load(PEOPLE.replace("\n", ",\n").replace("high,\n", "high,x\n", 1))
    with pytest.raises(DataError, match="line 4 has 5 fields, expected 6"):
        load(PEOPLE.replace("\n", ",\n").replace("60,cook,f,Bonn,high,", "60,cook,f,Bonn,high"))
    with pytest.raises(DataError, match="column 2 has no name"):
        load(PEOPLE.replace("job", ""))


# --- whole numbers that a float64 does not hold -------------------------------------------------------


def test_whole_numbers_beyond_2_to_the_53_are_categories_or_refused(load: Load, tmp_path: Path) -> None:
    ids = [2**53, 2**53 + 1, 2**53 + 2, 2**53]
    frame = pd.DataFrame({"id": ids, "pay": ["low", "high", "low", "high"]})
    path = tmp_path / "ids.parquet"
    frame.to_parquet(path)
    section = {"name": "csv", "path": str(path), "test_path": str(path), "target": "pay"}
    message = "id 9007199254740993 is above 2\\^53, .*add 'id' to data.categorical"
    with pytest.raises(DataError, match=f"row 2: {message}"):
        load_csv(CsvData.model_validate(section))
    with pytest.raises(DataError, match=f"line 3: {message}"):
        load(frame.to_csv(index=False), categorical=[])
    for data in (
        load_csv(CsvData.model_validate(section | {"categorical": ["id"]})),
        load(frame.to_csv(index=False), categorical=["id"]),
    ):
        assert data.train.x.argmax(1).tolist() == [0, 1, 2, 0]
    exact = load(f"id,pay\n{2**53},low\n{2**54},high\n", categorical=[])
    assert exact.train.x[:, 0].tolist() == [0, 1]


def test_features_choose_the_columns_and_their_order(load: Load) -> None:
    data = load(features=["town", "age"], **STATED)
    assert data.train.x[0].tolist() == pytest.approx([0.2, 0, 1])
    assert data.train.groups == {}


def test_groups_are_features_only_when_told(load: Load) -> None:
    assert load(groups=["sex"], **STATED).train.x.shape[1] == 6
    assert load(groups=["sex"], keep_protected=True, **STATED).train.x.shape[1] == 8
    with pytest.raises(StudyError, match=r"data\.features: 'sex' is a group; .*keep_protected"):
        load(groups=["sex"], features=["age", "sex"], **STATED)


def test_bins_make_a_number_a_group(load: Load) -> None:
    data = load(bins={"age": [30, 50]}, **STATED)
    assert group(data, "age") == ["<30", "[30, 50)", ">=50", "[30, 50)", ">=50"]
    assert data.train.x.shape[1] == 7  # age is no feature
    kept = load(bins={"age": [30, 50]}, keep_protected=True, **STATED)
    assert kept.train.x[:, 0].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.3, 0.5])
    assert kept.train.groups["age"].codes.tolist() == data.train.groups["age"].codes.tolist()


def test_logarithmic_scaling(load: Load) -> None:
    data = load(features=["age"], logarithmic=["age"], **STATED)
    assert data.train.x[:, 0].tolist() == pytest.approx((np.log1p([20, 40, 60, 30, 50]) / np.log1p(100)).tolist())


# --- the cut ------------------------------------------------------------------------------------------


def numbered(rows: int) -> str:
    return "n,pay\n" + "".join(f"{row},{'low' if row % 3 else 'high'}\n" for row in range(rows))


def test_the_cut_is_the_same_for_every_seed_and_keeps_the_order(load: Load, tmp_path: Path) -> None:
    section: dict[str, Any] = {"categorical": [], "ranges": {"n": [0, 100]}, "test_fraction": 0.3}
    data = load(numbered(100), None, **section)
    train, test = ((part.x[:, 0] * 100).round().int().tolist() for part in (data.train, data.test))
    assert len(test) == 30
    assert train == sorted(train)
    assert test == sorted(test)
    assert sorted(train + test) == list(range(100))
    settings = CsvData(name="csv", path=str(tmp_path / "people.csv"), target="pay", **section)
    assert all(load_data(settings, seed).test.x.equal(data.test.x) for seed in (1, 2))
    assert max(np.diff(test)) > 5  # drawn, not the file's end
    assert len(load(numbered(100), None, categorical=[]).test) == 20


def test_a_cut_without_test_rows_is_refused(load: Load) -> None:
    with pytest.raises(DataError, match=r"leave 2 to train on and 0 to test on"):
        load(numbered(2), None, categorical=[])


# --- missing values -----------------------------------------------------------------------------------

GAPS = "age,job,sex,pay\n20,cook,f,low\n?,clerk,m,high\n40,,f,high\n60,cook,NA,low\n"
NAMED: dict[str, Any] = {
    "categorical": ["job"],
    "groups": ["sex"],
    "ranges": {"age": [0, 100]},
    "categories": {"job": ["clerk", "cook"], "sex": ["f", "m"]},
}


def test_missing_values_are_refused_by_line_and_column(load: Load) -> None:
    for rows, message in (
        (GAPS, r"people\.csv: line 3: age is missing; mend it, or set data\.missing"),
        (GAPS.replace("?", "1"), r"people\.csv: line 4: job is missing"),
        (GAPS.replace("?", "1").replace("40,,", "40,cook,"), r"people\.csv: line 5: sex is missing"),
    ):
        with pytest.raises(DataError, match=message):
            load(rows, **NAMED)


def test_a_row_with_a_missing_value_is_dropped(load: Load) -> None:
    data = load(GAPS + "80,clerk,m,high\n", missing="drop", **NAMED)
    assert torch.equal(data.train.x, torch.tensor([[0.2, 0, 1], [0.8, 1, 0]]))
    assert data.train.y.tolist() == [1, 0]
    assert data.about.endswith("Rows with missing values are left out.")
    assert group(data, "sex") == ["f", "m"]
    # a missing value in a column that nobody reads costs no row
    assert len(load(GAPS, missing="drop", **(NAMED | {"groups": [], "features": ["age"]})).train) == 3


def test_a_missing_category_is_one_of_its_own(load: Load) -> None:
    data = load(GAPS, missing="category", fill={"age": 50}, **NAMED)
    assert data.train.x.tolist() == [
        pytest.approx(row) for row in ([0.2, 0, 1, 0], [0.5, 1, 0, 0], [0.4, 0, 0, 1], [0.6, 0, 1, 0])
    ]
    assert group(data, "sex") == ["f", "m", "f", "missing"]
    with pytest.raises(DataError, match=r"line 3: age is missing; give data\.fill a value for 'age'"):
        load(GAPS, missing="category", **NAMED)
    binned = load(GAPS, missing="category", bins={"age": [30]}, **(NAMED | {"ranges": {}}))
    assert group(binned, "age") == ["<30", "missing", ">=30", ">=30"]


def test_missing_values_are_filled(load: Load) -> None:
    data = load(GAPS, missing="value", fill={"age": 100, "job": "clerk", "sex": "m"}, **NAMED)
    assert data.train.x[1].tolist() == [1, 1, 0]
    assert data.train.x[2].tolist() == pytest.approx([0.4, 1, 0])
    assert group(data, "sex") == ["f", "m", "f", "m"]
    for fill, kind, message in (
        ({"age": 1}, DataError, "line 4: job is missing; give data.fill a value for 'job'"),
        ({"age": "x"}, StudyError, "'age' is a number, but its fill is the text 'x'"),
        ({"job": 3}, StudyError, "'job' is categorical; put its fill 3 in quotes"),
    ):
        with pytest.raises(kind, match=message):
            load(GAPS, missing="value", fill=fill, **NAMED)


@pytest.mark.parametrize("missing", ["category", "value"])
def test_a_missing_target_is_never_made_up(load: Load, missing: str) -> None:
    text = PEOPLE + "30,cook,f,Ulm,?\n"
    with pytest.raises(DataError, match="line 7: pay is missing; a row without its target teaches nothing"):
        load(text, missing=missing)


def test_a_mark_that_the_study_names_is_a_value(load: Load) -> None:
    text = PEOPLE.replace("guard", "?")
    categories = STATED["categories"] | {"job": ["clerk", "cook", "?"]}
    assert load(text, categories=categories).train.x[3, 3] == 1
    assert len(load(PEOPLE.replace("guard", "-"), missing_values=["-"], missing="drop").train) == 4


# --- refusals -----------------------------------------------------------------------------------------

FAULTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"target": "payy"}, StudyError, r"data\.target: .*people\.csv has no column 'payy'; did you mean 'pay'\?"),
    ({"groups": ["sexx"]}, StudyError, r"data\.groups: .* 'sexx'; did you mean 'sex'\?"),
    ({"ranges": {"ages": [0, 1]}}, StudyError, r"data\.ranges: .*'ages'; did you mean 'age'"),
    ({"categories": {"jb": ["a"]}}, StudyError, r"data\.categories: .*'jb'; did you mean 'job'"),
    ({"bins": {"agee": [1]}}, StudyError, r"data\.bins: .*'agee'"),
    ({"features": ["pay"]}, StudyError, r"'pay' is the target"),
    ({"features": ["age", "age"]}, StudyError, r"each once"),
    ({"groups": ["pay"]}, StudyError, r"'pay' is the target, which fairness\.groups has as label"),
    (
        {"categorical": ["job", "age"], "ranges": {"age": [0, 9]}},
        StudyError,
        "'age' is categorical, which has no range",
    ),
    ({"categorical": ["job"]}, DataError, r"line 2: sex 'f' is no finite number; .*'sex' to data\.categorical"),
    ({"ranges": {"age": [0, 55]}}, DataError, r"people\.csv: line 4: age 60 is outside of its range 0 to 55"),
    ({"categories": {"job": ["cook", "clerk"]}}, DataError, r"line 5: job 'guard' is none of data\.categories\.job"),
    ({"categories": {"pay": ["lo", "high"]}}, DataError, r"line 2: pay 'low' is none of .*; did you mean 'lo'\?"),
]


@pytest.mark.parametrize(("section", "kind", "message"), FAULTS)
def test_refusals_are_one_line(load: Load, section: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as refused:
        load(**section)
    assert "\n" not in str(refused.value)


def test_more_refusals(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"data\.test_path: .*held\.csv has no column 'sex'; did you mean 'sx'"):
        load(test=PEOPLE.replace("sex", "sx"))
    with pytest.raises(DataError, match=r"held\.csv: line 3: age 'x'"):
        load(test=PEOPLE.replace("40", "x"))
    with pytest.raises(DataError, match="pay has one value only"):
        load(PEOPLE.replace("high", "low"))
    with pytest.raises(DataError, match="age -3 is below 0, so it has no log"):
        load(PEOPLE.replace("20", "-3"), logarithmic=["age"])
    with pytest.raises(StudyError, match="cannot name a group"):
        load(PEOPLE.replace("sex", "label"), groups=["label"], categorical=["job", "town"])
    monkeypatch.setattr(table_features, "MOST_VALUES", 2)
    with pytest.raises(DataError, match=r"job has 3 values, more than 2; name them in data\.categories"):
        load()


def test_a_private_study_states_what_would_be_read_off(load: Load, tmp_path: Path) -> None:
    load(numbered(60), None, categorical=[])
    data = {"name": "csv", "path": str(tmp_path / "people.csv"), "target": "pay"}
    sections: dict[str, Any] = {
        "partition": {"name": "iid", "num_partitions": 2},
        "model": {"name": "logistic"},
        "privacy": {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3},
    }
    with pytest.raises(PrivacyError, match=r"the range of n, the values of pay would be read off .*data\.ranges"):
        prepare(make_study({"data": data, **sections}))
    stated = data | {"ranges": {"n": [0, 100]}, "categories": {"pay": ["low", "high"]}}
    assert prepare(make_study({"data": stated, **sections})).ledger is not None


def test_a_study_of_a_table_runs(load: Load, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=300), "clinic": rng.choice(["north", "south"], 300)})
    frame["ill"] = np.where(frame["a"] + 0.1 * rng.normal(size=300) > 0, "yes", "no")
    frame.to_csv(tmp_path / "clinics.csv", index=False)
    run = accord.run(
        make_study(
            {
                "data": {
                    "name": "csv",
                    "path": str(tmp_path / "clinics.csv"),
                    "target": "ill",
                    "groups": ["clinic"],
                },
                "partition": {"name": "natural", "partition_by": "clinic"},
                "model": "logistic",
                "training": {"learning_rate": 5.0, "local_epochs": 5},
                "program": {"name": "fedavg", "rounds": 5},
                "fairness": {"groups": ["clinic"], "positive": "yes"},
            }
        ),
        tmp_path / "run",
    )
    assert run.result is not None
    assert run.result["test"]["accuracy"] > 0.85
    assert set(run.result["fairness"]["groups"]) == {"clinic=north", "clinic=south"}


def test_a_tables_settings_are_saved_whole() -> None:
    data = {"name": "csv", "path": "a.csv", "target": "pay", "bins": {"age": [30]}, "fill": {"job": "x", "age": 3.5}}
    study = make_study({"data": data | STATED | {"delimiter": "\t", "missing": "value", "columns": ["age", "job"]}})
    assert parse_study(dump_study(study)) == study


def test_against_pandas(load: Load) -> None:
    """The naive version: pandas' own one-hot and scaling."""
    data = load(groups=["sex"])
    frame = pd.read_csv(io.StringIO(PEOPLE))
    dummies = pd.get_dummies(frame[["job", "town"]]).astype(np.float32)
    age = (frame["age"] - frame["age"].min()) / (frame["age"].max() - frame["age"].min())
    assert np.allclose(data.train.x, np.column_stack([age, dummies]))


@pytest.mark.skipif(not REAL, reason="needs the real files: set ACCORD_DATA to the folder that holds adult/")
def test_adults_own_file_gives_adults_rows(tmp_path: Path) -> None:
    folder = Path(str(REAL)) / "adult"
    own = load_adult(AdultData(name="adult", path=str(folder), keep_protected=True))
    packed = {part: next(folder.glob(f"adult.{part}*")) for part in ("data", "test")}
    # adult.test opens with a comment, and its labels end in a full stop
    lines = read_bytes(packed["test"]).decode().splitlines()[1:]
    (tmp_path / "test.csv").write_text("\n".join(line.removesuffix(".") for line in lines))
    table = load_csv(
        CsvData(
            name="csv",
            path=str(packed["data"]),
            test_path=str(tmp_path / "test.csv"),
            columns=COLUMNS,
            target="income",
            features=(*SCALES, *VOCABULARIES),
            groups=("sex", "race"),
            keep_protected=True,
            categories=VOCABULARIES | {"income": own.class_names},
            ranges={name: (scale.low, scale.high) for name, scale in SCALES.items()},
            logarithmic=("capital-gain", "capital-loss"),
        )
    )
    assert table.derived == ()
    assert table.class_names == own.class_names
    for mine, its in ((table.train, own.train), (table.test, own.test)):
        assert mine.x.equal(its.x)
        assert mine.y.equal(its.y)
        for name in ("sex", "race"):
            assert mine.groups[name].names == its.groups[name].names
            assert (mine.groups[name].codes == its.groups[name].codes).all()


# --- numbers to predict -------------------------------------------------------------------------------

NUMBERS: dict[str, Any] = {
    "target": "age",
    "target_kind": "number",
    "features": ["pay", "job"],
    "categorical": ["pay", "job"],
}
STATED_NUMBERS = {"categories": {"job": ["clerk", "cook", "guard"], "pay": ["low", "high"]}}


def test_a_target_may_be_a_number(load: Load) -> None:
    data = load(**NUMBERS, **STATED_NUMBERS)
    assert (data.class_names, data.derived) == ((), ())
    assert data.train.y.dtype == torch.float32
    assert data.train.y.tolist() == [20, 40, 60, 30, 50]
    assert data.train.x.shape == (5, 5)
    scaled = load(**NUMBERS, **STATED_NUMBERS, target_range=[0, 80])
    assert scaled.train.y.tolist() == [0.25, 0.5, 0.75, 0.375, 0.625]


def test_a_number_to_predict_in_parquet_is_the_same(load: Load, tmp_path: Path) -> None:
    pd.read_csv(io.StringIO(PEOPLE)).to_parquet(tmp_path / "people.parquet")
    path = str(tmp_path / "people.parquet")
    section = {"name": "csv", "path": path, "test_path": path} | NUMBERS | STATED_NUMBERS
    assert (
        load_csv(CsvData.model_validate(section)).train.y.tolist() == load(**NUMBERS, **STATED_NUMBERS).train.y.tolist()
    )


@pytest.mark.parametrize("missing", ["refuse", "category", "value"])
def test_a_missing_number_to_predict_is_never_made_up(load: Load, missing: str) -> None:
    text = PEOPLE.replace("60,", "?,")
    fill = {} if missing == "refuse" else {"fill": {"age": 7}}
    with pytest.raises(DataError, match=r"line 4: age is missing; .*set data.missing to drop"):
        load(text, **NUMBERS, missing=missing, **fill)
    assert load(text, **NUMBERS, missing="drop").train.y.tolist() == [20, 40, 30, 50]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (NUMBERS | {"target_range": [0, 55]}, r"line 4: age 60 is outside of its range 0 to 55; .* data.target_range"),
        (NUMBERS | {"target": "town", "features": ["age"]}, r"line 2: town 'Bonn' is no finite number"),
        (NUMBERS | {"target_range": [3, 3]}, r"target_range needs \[low, high\] with low < high"),
        (NUMBERS | {"ranges": {"age": [0, 80]}}, "which has neither categories nor ranges; give target_range"),
        (NUMBERS | {"categories": {"age": ["20"]}}, "which has neither categories nor ranges; give target_range"),
        (
            NUMBERS | {"categorical": ["age"]},
            "is a number to predict, so it is not categorical; set target_kind to class",
        ),
        ({"target_range": [0, 1]}, "target_range belongs to target_kind number; leave it out"),
    ],
)
def test_numbers_to_predict_that_are_refused(load: Load, section: dict[str, Any], message: str) -> None:
    with pytest.raises((DataError, ValueError), match=message):
        load(**section)


def test_a_target_of_very_many_values_is_told_to_be_a_number(load: Load) -> None:
    lines = "".join(f"{row},{row / 7}\n" for row in range(table_features.MOST_VALUES + 1))
    with pytest.raises(DataError, match=r"1,001 values, more than 1,000; name them in data.categories, or set "):
        load("age,pay\n" + lines, categorical=[])
    assert load("age,pay\n" + lines, categorical=[], target_kind="number").regression


def test_a_private_regression_on_a_table_states_its_features_alone(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("age,pay\n" + "".join(f"{row % 50},{row % 7}\n" for row in range(200)))
    data = {"name": "csv", "path": str(path), "target": "pay", "target_kind": "number"}
    private = {"unit": "sample", "epsilon": 8.0, "delta": 1e-4}
    partition = {"name": "iid", "num_partitions": 2}
    with pytest.raises(PrivacyError, match="the range of age would be read off the training rows"):
        prepare(make_study({"data": data, "privacy": private, "model": "linear", "partition": partition}))
    stated = data | {"ranges": {"age": [0, 100]}}
    prepare(make_study({"data": stated, "privacy": private, "model": "linear", "partition": partition}))


def test_values_outside_a_stated_range_are_clamped_on_request(load: Load) -> None:
    section: dict[str, Any] = {"features": ["age"], "ranges": {"age": [25, 50]}, "categories": STATED["categories"]}
    with pytest.raises(DataError, match=r"line 2: age 20 is outside of its range 25 to 50; .*or set data\.clamp"):
        load(**section)
    data = load(test=PEOPLE.replace("20,", "-1,"), clamp=True, **section)
    assert data.train.x[:, 0].tolist() == pytest.approx([0, 0.6, 1, 0.2, 1])
    assert data.test.x[0, 0] == 0
    assert data.derived == ()
    assert data.preprocessing is not None
    assert data.preprocessing.as_json()["input"]["columns"][0]["outside"] == "clamp"
    read_off = load(test=PEOPLE.replace("60,", "80,"), clamp=True, features=["age"])
    assert read_off.test.x[2, 0] == 1.5  # a range that was read off bounds nothing
