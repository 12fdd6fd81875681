"""Rows handed over in Python: read alike from both kinds of data set, whole or by client, and run as they are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import accord
from accord.config.load import load_study, make_study
from accord.core.errors import DataError, PrivacyError, RunFolderError, StudyError
from accord.data.federated import DataSet
from accord.data.in_memory import from_datasets, from_torch


class Column:
    """What `dataset[column]` gives from datasets 4 on: a lazy sequence, a list when sliced."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __getitem__(self, key: Any) -> Any:
        return list(self.values)[key]


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Columns:
    """The part of `datasets.Dataset` that is documented: columns, length, features, `dataset[column]`."""

    def __init__(self, columns: Mapping[str, Sequence[Any]], features: Mapping[str, Any] | None = None) -> None:
        self.columns = columns
        self.features = dict.fromkeys(columns) | dict(features or {})

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return Column(self.columns[key])
        return {name: values[key] for name, values in self.columns.items()}


def people(start: int = 0, rows: int = 6) -> Columns:
    numbers = range(start, start + rows)
    return Columns(
        {
            "age": [float(each) for each in numbers],
            "pay": [2 * each for each in numbers],
            "ill": [each % 2 for each in numbers],
            "sex": ["fm"[each % 3 == 0] for each in numbers],
        },
        {"ill": ClassLabel(["no", "yes"])},
    )


TABLE: dict[str, Any] = {"features": ["age", "pay"], "label": "ill", "groups": ["sex"]}


def test_columns_of_numbers_become_rows() -> None:
    data = from_datasets(people(), people(6, 2), **TABLE)
    assert data.train.x.tolist() == [[n, 2 * n] for n in range(6)]
    assert data.train.x.dtype == torch.float32
    assert data.test.x.tolist() == [[6, 12], [7, 14]]
    assert data.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.class_names == ("no", "yes")
    assert data.derived == ()
    assert data.train.groups["sex"].names == ("f", "m")
    assert data.train.groups["sex"].codes.tolist() == [1, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("kind", ["mapping", "list"])
def test_by_client(kind: str) -> None:
    parts = [people(0, 2), people(2, 3), people(5, 4)]
    names = ("north", "south", "10") if kind == "mapping" else ("0", "1", "2")
    handed: Any = dict(zip(names, parts, strict=True)) if kind == "mapping" else parts
    data = from_datasets(handed, people(9, 3), **TABLE)
    column = data.train.groups["client"]
    assert [column.names[code] for code in column.codes] == [names[i] for i in (0, 0, 1, 1, 1, 2, 2, 2, 2)]
    assert data.train.x[:, 0].tolist() == list(range(9))
    assert {data.test.groups["client"].names[code] for code in data.test.groups["client"].codes} == {"(test)"}
    own = from_datasets(handed, handed, **TABLE)
    assert own.test.groups["client"].names == names
    assert own.test.groups["client"].codes.tolist() == own.train.groups["client"].codes.tolist()


@pytest.mark.parametrize("colours", [None, 3])
def test_pictures_are_scaled_with_channels_first(colours: int | None) -> None:
    image = pytest.importorskip("PIL.Image")
    shape = (4, 5) if colours is None else (4, 5, colours)
    raw = np.random.default_rng(0).integers(256, size=(3, *shape), dtype=np.uint8)
    for pictures in (list(raw), [image.fromarray(each) for each in raw]):
        data = from_datasets(*[Columns({"image": pictures, "label": [0, 1, 2]})] * 2, features="image", label="label")
        x = data.train.x
        assert x.shape == (3, colours or 1, 4, 5)
        back = x[:, 0] if colours is None else x.permute(0, 2, 3, 1)
        assert np.array_equal((back * 255).round().numpy().astype(np.uint8), raw)


def test_lists_are_features_and_lists_of_whole_numbers_tokens() -> None:
    rows = Columns({"vector": [[0.5, 1.5], [2.5, 3.5]], "ids": [[3, 1, 2], [0, 0, 9]], "one": [1, 2], "y": ["a", "b"]})
    assert from_datasets(rows, rows, features="vector", label="y").train.x.tolist() == [[0.5, 1.5], [2.5, 3.5]]
    assert from_datasets(rows, rows, features="one", label="y").train.x.tolist() == [[1], [2]]
    tokens = from_datasets(rows, rows, features="ids", label="y")
    assert tokens.train.x.dtype == torch.int64
    assert tokens.train.x.tolist() == [[3, 1, 2], [0, 0, 9]]
    assert tokens.class_names == ("a", "b")
    assert tokens.derived == ("class_names",)
    assert from_datasets(rows, rows, features="ids", label="y", classes=["b", "a"]).train.y.tolist() == [1, 0]


class Dicts(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row >= len(self):
            raise IndexError(row)
        return {"x": np.full(3, row, dtype=np.float32), "y": row % 2, "sex": "mf"[row // 2]}


def test_torch_items_may_be_tuples_or_dicts() -> None:
    x = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    tuples = TensorDataset(x, torch.tensor([0, 1, 0, 1]), torch.tensor([7, 8, 7, 7]))
    data = from_torch(tuples, tuples, groups={"site": 2})
    assert data.train.x.equal(x)
    assert data.train.groups["site"].names == ("7", "8")
    assert data.class_names == ("0", "1")
    assert data.derived == ("class_names",)
    named = from_torch([Dicts(), Dicts()], Dicts(), features="x", label="y", groups=["sex"], classes=["no", "yes"])
    assert named.train.x[:, 0].tolist() == [0, 1, 2, 3] * 2
    assert named.train.groups["sex"].codes.tolist() == [1, 1, 0, 0] * 2
    assert named.train.groups["client"].codes.tolist() == [0] * 4 + [1] * 4
    assert named.derived == ()


class Random(Dataset[tuple[torch.Tensor, int]]):
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.rng.normal(size=3)), row


class Broken(Dataset[tuple[torch.Tensor, int]]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        if row == 2:
            raise OSError("scan 2\nis torn")
        return torch.ones(3), row


class Stream(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        return iter([])


GOOD = TensorDataset(torch.eye(3), torch.tensor([0, 1, 0]))
ANY: Any = GOOD
STREAM: Any = Stream()
TWICE: Any = {1: people(), "1": people()}
NO_NUMBER = TensorDataset(torch.full((3, 3), torch.nan), torch.tensor([0, 1, 0]))
WIDE = TensorDataset(torch.ones(3, 4), torch.tensor([0, 1, 0]))
FAULTS: list[tuple[Callable[[], DataSet], str]] = [
    (lambda: from_datasets(people(), people(), **(TABLE | {"label": "il"})), "no column 'il'; did you mean 'ill'"),
    (lambda: from_datasets(people(), people(), **(TABLE | {"features": []})), "features names no column"),
    (lambda: from_datasets({"train": people(), "test": people()}, people(), **TABLE), "splits, not clients"),
    (lambda: from_datasets(people(), {"a": people()}, **TABLE), "test is by client, but train is one data set"),
    (lambda: from_datasets({"a": people()}, {"b": people()}, **TABLE), "test has the client 'b', but train has not"),
    (lambda: from_datasets([], people(), **TABLE), "no client is handed over"),
    (lambda: from_datasets(TWICE, people(), **TABLE), "two clients have one name"),
    (lambda: from_datasets([people(), people(0, 0)], people(), **TABLE), "of client 1: no rows"),
    (lambda: from_datasets(people(), people(), **(TABLE | {"features": ["age", "sex"]})), "'sex' holds texts"),
    (lambda: from_datasets(people(), people(), **(TABLE | {"groups": ["client"]})), "groups has 'client'"),
    (lambda: from_datasets(ANY, people(), **TABLE), "TensorDataset has no columns; hand torch data sets"),
    (
        lambda: from_datasets(*[Columns({"v": [[1.0], [1.0, 2.0]], "y": [0, 1]})] * 2, features="v", label="y"),
        "column 'v': rows differ in shape; pad or resize",
    ),
    (
        lambda: from_datasets(*[Columns({"v": [1.0, None], "y": [0, 1]})] * 2, features=["v"], label="y"),
        "column 'v' has .* in row",
    ),
    (
        lambda: from_datasets(*[Columns({"v": [1.0, 2.0], "y": ["a", "c"]})] * 2, **V_OF_Y, classes=["a", "b"]),
        r"label 'c' is none of the classes \(a, b\)",
    ),
    (lambda: from_torch(Random(), GOOD), "row 0 differs when it is asked for twice"),
    (lambda: from_torch(NO_NUMBER, GOOD), "x_train has .*in row 0"),
    (
        lambda: from_torch([GOOD, Broken()], GOOD),
        "train of client 1, row 2: the data set raised OSError: scan 2 is torn",
    ),
    (lambda: from_torch(STREAM, GOOD), "a Stream has no length"),
    (lambda: from_torch(GOOD, GOOD, groups={"sex": 2}), "row 0: the item has no 2, which group sex was to be"),
    (lambda: from_torch(GOOD, WIDE), r"a row of x_train is \[3\] of float32, but of x_test \[4\]"),
    (lambda: from_torch([GOOD, WIDE], GOOD), r"train: x: a row is \[3\] of float32 at one client and \[4\]"),
    (lambda: from_torch([(1, 0)], [(1, 0)]), "no 0|has no"),
]
V_OF_Y: dict[str, Any] = {"features": ["v"], "label": "y"}


@pytest.mark.parametrize(("hand", "message"), FAULTS)
def test_what_cannot_be_read_is_refused_in_one_line(hand: Callable[[], DataSet], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        hand()
    assert "\n" not in str(refused.value)


# --- ids by their names -------------------------------------------------------------------------------


def labelled(names: list[str], ids: list[int], groups: list[str] | None = None) -> Columns:
    """A client's rows, with labels and groups as ids whose names its type has."""
    columns: dict[str, Sequence[Any]] = {"v": [float(each) for each in range(len(ids))], "y": ids, "g": ids}
    return Columns(columns, {"y": ClassLabel(names), "g": ClassLabel(groups or names)})


def test_ids_that_clients_number_otherwise_are_matched_by_name() -> None:
    train = {"north": labelled(["no", "yes"], [0, 1]), "south": labelled(["yes", "no"], [0, 1])}
    test = labelled(["maybe", "no", "yes"], [2, 1], ["yes", "no", "maybe"])
    data = from_datasets(train, test, features=["v"], label="y", groups=["g"])
    assert data.class_names == ("no", "yes", "maybe")
    assert data.train.y.tolist() == [0, 1, 1, 0]
    assert data.test.y.tolist() == [1, 0]
    for part, expected in ((data.train, ["no", "yes", "yes", "no"]), (data.test, ["maybe", "no"])):
        column = part.groups["g"]
        assert [column.names[code] for code in column.codes] == expected
    assert "class_names" not in data.derived
    named = from_datasets(train, test, features=["v"], label="y", classes=["yes", "no", "maybe"])
    assert named.train.y.tolist() == [1, 0, 0, 1]
    renamed = from_datasets(train["north"], train["north"], features=["v"], label="y", classes=["well", "ill"])
    assert (renamed.class_names, renamed.train.y.tolist()) == (("well", "ill"), [0, 1])


def test_ids_without_names_beside_ids_with_names_are_refused() -> None:
    bare = Columns({"v": [0.0, 1.0], "y": [0, 1]})
    with pytest.raises(DataError, match=r"the labels of .* of client 0 have names in its type, those of .* client 1"):
        from_datasets([labelled(["no", "yes"], [0, 1]), bare], bare, features=["v"], label="y")
    with pytest.raises(DataError, match=r"test: y has -1 in row 0, but the names of its type run from 0 to 1"):
        from_datasets(labelled(["a", "b"], [0, 1]), labelled(["a", "b"], [-1]), features=["v"], label="y")


class Folder(TensorDataset):
    """torchvision's ImageFolder: ids count the folders that are there."""

    def __init__(self, classes: list[str], ids: list[int]) -> None:
        super().__init__(torch.eye(3)[: len(ids)], torch.tensor(ids))
        self.classes = classes


def test_folders_of_torch_are_matched_by_name() -> None:
    data = from_torch({"a": Folder(["cat", "dog"], [0, 1]), "b": Folder(["dog", "fox"], [0, 1])}, Folder(["fox"], [0]))
    assert data.class_names == ("cat", "dog", "fox")
    assert data.train.y.tolist() == [0, 1, 1, 2]
    assert data.test.y.tolist() == [2]


def test_labels_of_test_rows_alone_stop_the_run() -> None:
    train, test = TensorDataset(torch.eye(2), torch.tensor([0, 1])), TensorDataset(torch.eye(2), torch.tensor([0, 5]))
    with pytest.raises(DataError, match=r"1 test rows have '5', which no training row has .*hand over classes where"):
        from_torch(train, test)
    texts = [Columns({"v": [1.0, 2.0], "y": ["<=50K", last]}) for last in (">50K", ">50K.")]
    with pytest.raises(DataError, match=r"1 test rows have '>50K\.', which no training row has"):
        from_datasets(*texts, features=["v"], label="y")
    assert from_datasets(*texts, features=["v"], label="y", classes=["<=50K", ">50K", ">50K."]).test.y.tolist() == [
        0,
        2,
    ]


def test_integer_labels_are_coded_and_equal_numbers_one_class() -> None:
    dates = TensorDataset(torch.eye(2), torch.tensor([20240101, 20240102]))
    data = from_torch(dates, dates)
    assert (data.class_names, data.train.y.tolist()) == (("20240101", "20240102"), [0, 1])
    rows = [Columns({"v": [1.0, 2.0], "y": labels}) for labels in ([0, 1], [0.0, 1.0], ["1", "0"], ["1.0", "0.0"])]
    whole = from_datasets(rows[:2], rows[1], features=["v"], label="y")
    assert (whole.class_names, whole.train.y.tolist(), whole.test.y.tolist()) == (("0", "1"), [0, 1, 0, 1], [0, 1])
    texts = from_datasets(rows[2], rows[3], features=["v"], label="y")
    assert (texts.class_names, texts.train.y.tolist(), texts.test.y.tolist()) == (("0", "1"), [1, 0], [1, 0])


@pytest.mark.parametrize("gap", [None, float("nan"), "nan", "", "NaT"])
def test_a_missing_group_or_label_is_never_a_text(gap: Any) -> None:
    class Items(Dataset[tuple[torch.Tensor, Any, Any]]):
        def __init__(self, label: Any, group: Any) -> None:
            self.rows = [(torch.ones(1), "a", "x"), (torch.zeros(1), label, group)]

        def __len__(self) -> int:
            return 2

        def __getitem__(self, row: int) -> tuple[torch.Tensor, Any, Any]:
            return self.rows[row]

    for label, group, where in (("b", gap, "group g"), (gap, "x", "y")):
        with pytest.raises(DataError, match=f"train: {where} has .* in row 1, which is a missing value"):
            from_torch(Items(label, group), Items("b", "x"), groups={"g": 2})
        columns = Columns({"v": [0.0, 1.0], "y": ["a", label], "g": ["x", group]})
        with pytest.raises(DataError, match=f"column '{where[-1]}' has .* in row 1, which is a missing value"):
            from_datasets(columns, columns, features=["v"], label="y", groups=["g"])


# --- features of other kinds --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bfloat16", "sparse", "gradient"])
def test_unusual_tensors_of_features_are_taken(kind: str) -> None:
    def made(row: torch.Tensor) -> torch.Tensor:
        if kind == "bfloat16":
            return row.bfloat16()
        return row.to_sparse() if kind == "sparse" else row.clone().requires_grad_()

    class Items(Dataset[tuple[torch.Tensor, int]]):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
            return made(torch.eye(3)[row]), row % 2

    assert from_torch(Items(), Items()).train.x.equal(torch.eye(3))


def test_pictures_of_mixed_modes_become_coloured() -> None:
    image = pytest.importorskip("PIL.Image")
    grey = image.fromarray(np.full((4, 5), 51, np.uint8))
    palette = image.fromarray(np.full((4, 5, 3), 255, np.uint8)).convert("P")
    rows = Columns({"image": [grey, palette], "label": [0, 1]})
    data = from_datasets(rows, rows, features="image", label="label")
    assert data.train.x.shape == (2, 3, 4, 5)
    assert data.train.x[:, :, 0, 0].tolist() == [[pytest.approx(0.2)] * 3, [1.0] * 3]
    deep = image.fromarray(np.full((4, 5), 40_000, np.uint16))
    with pytest.raises(DataError, match="column 'image', row 1: a picture of mode I;16"):
        from_datasets(Columns({"image": [grey, deep], "label": [0, 1]}), rows, features="image", label="label")


# --- runs ---------------------------------------------------------------------------------------------


def clinic(seed: int, rows: int = 40) -> TensorDataset:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype("float32")
    return TensorDataset(torch.from_numpy(x), torch.from_numpy((x[:, 0] > 0).astype("int64")))


def handed_over(seed: int = 0) -> DataSet:
    train = {name: clinic(seed + number, 20 + 10 * number) for number, name in enumerate(("north", "south", "west"))}
    return from_torch(train, clinic(9), classes=["healthy", "ill"], about="Readings of three clinics.")


BY_CLIENT = {"name": "natural", "partition_by": "client"}


def study(**sections: Any) -> accord.Study:
    base: dict[str, Any] = {
        "data": "in_memory",
        "partition": BY_CLIENT,
        "model": "logistic",
        "training": {"learning_rate": 0.5},
        "program": {"name": "fedavg", "rounds": 3},
    }
    return make_study(base | sections)


def test_a_run_of_handed_rows_says_so_and_is_taken_up_with_them(tmp_path: Path) -> None:
    def power_cut(stage: str, record: object, planned: int) -> None:
        raise RuntimeError("power cut")

    data = handed_over()
    whole = accord.run(study(), tmp_path / "whole", data=data)
    assert whole.result is not None
    assert whole.result["data"]["about"] == "Readings of three clinics."
    assert whole.result["clients"]["population"] == 3
    saved = load_study(tmp_path / "whole" / "study.yaml").data
    assert saved.model_dump() == {"name": "in_memory", "about": "Readings of three clinics."}
    opened = accord.resume(tmp_path / "whole", data=handed_over(seed=1))  # a finished run has no use for rows
    assert all(torch.equal(value, whole.params[name]) for name, value in opened.params.items())
    with pytest.raises(RuntimeError, match="power cut"):
        accord.run(study(), tmp_path / "cut", data=data, on_round=power_cut)
    with pytest.raises(DataError, match=r"accord\.resume\(folder, data=\.\.\.\)"):
        accord.resume(tmp_path / "cut")
    with pytest.raises(RunFolderError, match="data, versions or device are not those"):
        accord.resume(tmp_path / "cut", data=handed_over(seed=1))
    resumed = accord.resume(tmp_path / "cut", data=handed_over())
    assert all(torch.equal(value, whole.params[name]) for name, value in resumed.params.items())


def test_clients_hold_what_was_handed_to_them(tmp_path: Path) -> None:
    import json

    run = accord.run(study(), tmp_path / "run", data=handed_over())
    held = json.loads((run.folder / "partition.json").read_text())["clients"]
    assert [(client["name"], client["rows"]) for client in held] == [("north", 20), ("south", 30), ("west", 40)]
    assert sum(client["test_rows"] for client in held) == 40


def test_one_data_set_is_dealt_as_the_study_says(tmp_path: Path) -> None:
    data = from_torch(clinic(0, 90), clinic(1), classes=["healthy", "ill"])
    split = {"name": "iid", "num_partitions": 5}
    privacy = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
    run = accord.run(study(partition=split, privacy=privacy), tmp_path / "run", data=data)
    assert run.result is not None
    assert run.result["clients"]["population"] == 5
    unnamed = from_torch(clinic(0, 90), clinic(1))
    with pytest.raises(PrivacyError, match=r"class_names would be read off the training rows.*hand over classes"):
        accord.run(study(partition=split, privacy=privacy), tmp_path / "other", data=unnamed)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(DataError, match="hand them over again"):
        accord.run(study(), out)
    with pytest.raises(StudyError, match=r"the study's data is digits; make that \{name: in_memory\}"):
        accord.run(study(data="digits"), out, data=handed_over())
    with pytest.raises(StudyError, match=r"partition iid: the rows were handed over by client; set it to \{name: nat"):
        accord.run(study(partition="iid"), out, data=handed_over())
    with pytest.raises(StudyError, match=r"hand over what accord\.from_datasets .* returns, not a TensorDataset"):
        accord.run(study(), out, data=clinic(0))  # type: ignore[arg-type]
    assert not out.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floating_point_labels_are_numbers_to_predict(tmp_path: Path, dtype: torch.dtype) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    rows = TensorDataset(x, (x @ torch.tensor([1.0, -2.0, 0.5]) + 1).to(dtype))
    handed = from_torch({"north": rows, "south": rows}, rows)
    assert (handed.regression, handed.class_names, handed.derived) == (True, (), ())
    study = make_study(
        {
            "data": "in_memory",
            "partition": {"name": "natural", "partition_by": "client"},
            "model": "linear",
            "training": {"batch_size": "full", "local_steps": 1, "learning_rate": 0.2},
            "program": {"name": "fedavg", "rounds": 60},
        }
    )
    run = accord.run(study, tmp_path / "run", data=handed)
    assert run.result is not None
    assert run.result["test"]["r2"] > 0.999


def test_a_column_of_floats_is_a_number_to_predict() -> None:
    columns = Columns({"a": [1.0, 2.0], "b": [0.5, 0.25], "price": [10.5, 20.0]})
    handed = from_datasets(columns, columns, features=["a", "b"], label="price")
    assert handed.train.y.tolist() == [10.5, 20.0]
    assert handed.regression
    with pytest.raises(DataError, match="there are class_names, but y_train is floating-point"):
        from_datasets(columns, columns, features=["a", "b"], label="price", classes=["low", "high"])
