import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.data import CustomData
from accord.core.errors import DataError, StudyError
from accord.data.federated import DataSet
from accord.data.sources.custom import checked, load_custom

Load = Callable[..., DataSet]


def rows(n: int = 6, **changed: Any) -> dict[str, Any]:
    """A right answer, with some keys changed; None drops one."""
    answer: dict[str, Any] = {
        "x_train": np.ones((n, 3), dtype=np.float32),
        "y_train": np.arange(n) % 2,
        "x_test": np.zeros((4, 3), dtype=np.float32),
        "y_test": np.array([0, 1, 0, 1]),
    }
    return {key: value for key, value in (answer | changed).items() if value is not None}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads what a function in a module of its own returns for the settings given."""

    def load(returned: Any, **settings: Any) -> DataSet:
        module = types.ModuleType("my_rows")
        vars(module)["make"] = returned if callable(returned) else lambda: returned
        monkeypatch.setitem(sys.modules, "my_rows", module)
        return load_custom(CustomData(name="custom", function="my_rows:make", settings=settings))

    return load


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("form", ["tuple", "list", "dict"])
def test_arrays_and_tensors_in_each_form(load: Load, kind: Callable[[Any], Any], form: str) -> None:
    answer = {key: kind(value) for key, value in rows().items()}
    forms = {"tuple": tuple(answer.values()), "list": list(answer.values()), "dict": answer}
    data = load(forms[form])
    assert data.train.x.shape == (6, 3)
    assert data.train.y.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.test.y.dtype == torch.int64
    assert data.class_names == ("0", "1")
    assert "my_rows:make" in data.about


def test_settings_reach_the_function(load: Load) -> None:
    data = load(lambda n, scale: rows(n, x_train=np.full((n, 3), scale)) | {"x_test": np.ones((4, 3))}, n=9, scale=2.5)
    assert len(data.train) == 9
    assert float(data.train.x.mean()) == 2.5


def test_arrays_that_torch_cannot_share_are_copied(load: Load) -> None:
    frozen = np.arange(18, dtype=">f4").reshape(6, 3)[::-1]
    frozen.setflags(write=False)
    data = load(rows(x_train=frozen, y_train=np.arange(6, dtype=np.uint8)[::-1] % 2))
    assert data.train.x[0].tolist() == [15, 16, 17]
    assert data.train.y.tolist() == [1, 0, 1, 0, 1, 0]


def test_tokens_stay_whole_numbers(load: Load) -> None:
    data = load(rows(x_train=np.arange(18).reshape(6, 3), x_test=torch.zeros(4, 3, dtype=torch.int64)))
    assert data.train.x.dtype == data.test.x.dtype == torch.int64
    assert data.train.x[5].tolist() == [15, 16, 17]
    assert data.tokens() == 18


def test_a_tensor_with_a_gradient_is_taken_without_it(load: Load) -> None:
    data = load(rows(x_train=torch.ones(6, 3, requires_grad=True)))
    assert not data.train.x.requires_grad


def test_groups_share_codes_between_parts(load: Load) -> None:
    data = load(
        rows(
            groups_train={"site": ["b", "a", "b", "b", "a", "b"], "age": torch.tensor([10, 9, 9, 10, 9, 9])},
            groups_test={"site": np.array(["c", "b", "a", "c"]), "age": [9, 10, 11, 9]},
            class_names=["no", "yes"],
        )
    )
    assert data.train.groups["site"].names == data.test.groups["site"].names == ("a", "b", "c")
    assert data.train.groups["site"].codes.tolist() == [1, 0, 1, 1, 0, 1]
    assert data.test.groups["site"].codes.tolist() == [2, 1, 0, 2]
    assert data.train.groups["age"].names == ("9", "10", "11")
    assert data.class_names == ("no", "yes")


def test_pandas_columns_are_taken(load: Load) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"site": ["n", "s", "n", "s"], "age": [30, 4, 30, 4]})
    answer = rows(4, groups_train=frame.to_dict("series"), groups_test=frame.to_dict("series"))
    data = load(answer)
    assert data.train.groups["site"].codes.tolist() == [0, 1, 0, 1]
    assert data.train.groups["age"].names == ("4", "30")


SIX, FOUR = ["a"] * 6, ["a"] * 4
NAN = np.ones((6, 3), dtype=np.float32)
NAN[2, 1] = np.nan

FAULTS: dict[str, tuple[Any, str]] = {
    "nothing": (None, "it returned a NoneType; return"),
    "three": ((1, 2, 3), "it returned a tuple of 3; return"),
    "missing key": (rows(y_test=None), "has no 'y_test'"),
    "unknown key": (rows(groups=1), "has unknown key 'groups'"),
    "a list for x": (rows(x_train=[[1.0]]), "x_train is a list; return a torch tensor or a numpy array"),
    "text": (rows(x_train=np.array([["a"]])), "x_train is an array of <U1; return numbers"),
    "flat x": (rows(x_test=np.ones(4)), r"x_test has shape \[4\]; it needs one row a sample"),
    "pixels": (rows(x_train=np.ones((6, 3), np.uint8)), "x_train is torch.uint8; return floating-point .*int64"),
    "short tokens": (rows(x_train=np.ones((6, 3), np.int32)), "x_train is torch.int32; return floating-point .*int64"),
    "tokens of two dimensions": (
        rows(x_train=np.ones((6, 3, 2), np.int64)),
        r"x_train is int64 of shape \[6, 3, 2\]; tokens are \[n, length\]",
    ),
    "negative token": (rows(x_test=np.array([[0, 1], [2, -1]] * 2)), "x_test has the token -1, the first .* in row 1"),
    "tokens and numbers": (
        rows(x_train=np.ones((6, 3), np.int64)),
        r"a row of x_train is \[3\] of int64, but of x_test \[3\] of float32; both parts need the same",
    ),
    "no rows": (rows(0), r"x_train is empty, shape \[0, 3\]"),
    "nan": (rows(x_train=NAN), "x_train has a value that is not finite in row 2"),
    "column of labels": (rows(y_train=np.zeros((6, 1), int)), r"y_train has shape \[6, 1\]; .* \[n\]"),
    "real labels": (rows(y_test=np.full(4, 0.5)), "y_test is torch.float64; return whole numbers"),
    "labels of test rows alone": (
        rows(y_test=np.array([0, 1, 7, 7])),
        r"2 test rows have '7', which no training row has \(training rows have '0', '1'\); .* return class_names where",
    ),
    "large labels": (rows(y_train=np.full(6, 2**63, np.uint64)), "y_train has 9223372036854775808, which is no int64"),
    "missing group as a text": (
        rows(groups_train={"site": np.array([*SIX[1:], "nan"])}, groups_test={"site": FOUR}),
        r"groups_train\['site'\] has 'nan' in row 5, which is a missing value",
    ),
    "text and numbers as groups": (
        rows(groups_train={"site": SIX}, groups_test={"site": [1, 2, 1, 2]}),
        "group column 'site' is <U1 in groups_train, but int64 in groups_test; give texts or whole numbers in both",
    ),
    "negative label": (rows(y_test=np.array([0, -1, 0, 1])), "y_test has the label -1 in row 1"),
    "counts": (rows(y_train=np.zeros(5, int)), "x_train has 6 rows, but y_train has 5"),
    "widths": (
        rows(x_test=np.ones((4, 2), np.float32)),
        r"a row of x_train is \[3\] of float32, but of x_test \[2\] of float32",
    ),
    "one class": (rows(y_train=np.zeros(6, int), y_test=np.zeros(4, int)), "nothing to tell apart"),
    "few names": (rows(class_names=["no"]), "labels run up to 1, but class_names has 1"),
    "no names": (rows(class_names=[1, 2]), "class_names is not a list of strings"),
    "same names": (rows(class_names=["a", "a"]), "class_names has a name twice"),
    "groups list": (rows(groups_train=[1], groups_test={}), "groups_train is a list; return a dict"),
    "groups of one part": (rows(groups_train={"site": SIX}), "'site' is in one of groups_train and"),
    "short group": (
        rows(groups_train={"site": FOUR}, groups_test={"site": FOUR}),
        r"groups_train\['site'\] has shape \[4\], expected one value for each of the 6 rows",
    ),
    "missing group": (
        rows(groups_train={"site": [*SIX[1:], float("nan")]}, groups_test={"site": FOUR}),
        r"groups_train\['site'\] has nan in row 5",
    ),
    "real group": (
        rows(groups_train={"site": np.full(6, 0.5)}, groups_test={"site": np.ones(4)}),
        "holds float64; give each row a text or a whole number",
    ),
    "group called label": (rows(groups_train={"label": SIX}, groups_test={"label": FOUR}), "cannot name"),
    "group with a star": (rows(groups_train={"a*b": SIX}, groups_test={"a*b": FOUR}), "cannot name"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_answer_is_refused_in_one_line(load: Load, fault: str) -> None:
    returned, message = FAULTS[fault]
    with pytest.raises(DataError, match=message) as refused:
        load(returned)
    assert str(refused.value).startswith("data.function my_rows:make: ")
    assert "\n" not in str(refused.value)


def test_a_function_that_fails_is_named_with_its_cause(load: Load) -> None:
    def failing() -> None:
        raise KeyError("two\nlines")

    with pytest.raises(DataError, match="it raised KeyError: ") as refused:
        load(failing)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value.__cause__, KeyError)
    with pytest.raises(DataError, match=r"it raised TypeError: .*'rows'"):
        load(lambda: rows(), rows=3)


def test_accords_own_errors_pass_through(load: Load) -> None:
    def missing() -> None:
        raise DataError("clinics.csv: not there")

    with pytest.raises(DataError, match=r"^clinics\.csv: not there$"):
        load(missing)


def test_an_unknown_function_is_named() -> None:
    with pytest.raises(StudyError, match=r"^data\.function: module 'math' has no function 'rows'"):
        load_custom(CustomData(name="custom", function="math:rows"))


def test_a_group_value_that_only_training_rows_have_is_told_from_them(load: Load) -> None:
    common, four = {"site": ["a"] * 6}, {"site": ["a"] * 4}
    assert load(rows(class_names=["0", "1", "2"], groups_train=common, groups_test=four)).derived == ()
    rare = {"site": ["a"] * 5 + ["b"]}
    data = load(rows(class_names=["0", "1", "2"], groups_train=rare, groups_test=four))
    assert data.derived == ("the values of group column site",)
    assert (
        load(rows(class_names=["0", "1", "2"], groups_train=common, groups_test={"site": ["a"] * 3 + ["b"]})).derived
        == ()
    )


def test_floating_point_targets_are_numbers_to_predict() -> None:
    data = load_custom(CustomData(name="custom", function="number_rows:prices"))
    assert (data.regression, data.class_names, data.derived) == (True, (), ())
    assert data.train.y.dtype == torch.float32
    half = load_custom(CustomData(name="custom", function="number_rows:prices", settings={"kind": "float32"}))
    assert half.test.y.equal(data.test.y)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a", "b"]}, "there are class_names, but y_train is floating-point; return whole numbers"),
        ({"y_test": np.array([0.5, np.nan, 1.0, 2.0])}, "y_test has no finite float32 in row 1; mend or drop it"),
        ({"y_train": np.full(4, 1e300)}, "y_train has no finite float32 in row 0"),
        ({"y_test": np.zeros((4, 1))}, r"y_test is torch.float64 of shape \[4, 1\]; it needs one number a row"),
    ],
)
def test_numbers_to_predict_that_are_refused(changes: dict[str, Any], message: str) -> None:
    parts = {"x_train": np.zeros((4, 2)), "y_train": np.zeros(4), "x_test": np.zeros((4, 2)), "y_test": np.zeros(4)}
    with pytest.raises(DataError, match=message):
        checked(parts | changes, "here", "custom", "about")


def test_integer_labels_are_coded(load: Load) -> None:
    data = load(rows(y_train=np.array([20240101, 20240102] * 3), y_test=np.array([20240102] * 4)))
    assert data.class_names == ("20240101", "20240102")
    assert data.train.y.tolist() == [0, 1] * 3
    assert data.test.y.tolist() == [1] * 4
    assert data.derived == ("class_names",)


def test_numbers_that_are_equal_are_one_class_and_one_group(load: Load) -> None:
    groups: dict[str, Any] = {
        "groups_train": {"site": [1, 1.0, 2, 2.0, 1, 2]},
        "groups_test": {"site": np.array([1.0, 2, 2, 1])},
    }
    data = load(rows(y_test=np.array([0.0, 1.0, 1.0, 0.0]), **groups))
    assert (data.class_names, data.test.y.tolist()) == (("0", "1"), [0, 1, 1, 0])
    assert data.train.groups["site"].names == data.test.groups["site"].names == ("1", "2")
    texts: dict[str, Any] = {"groups_train": {"site": ["1", "2"] * 3}, "groups_test": {"site": ["1.0", "2.0"] * 2}}
    assert load(rows(**texts)).test.groups["site"].codes.tolist() == [0, 1, 0, 1]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("kind", ["bfloat16", "sparse", "csr", "gradient"])
def test_unusual_tensors_are_taken_as_plain_ones(load: Load, kind: str) -> None:
    x = torch.eye(6, 3)
    made = {
        "bfloat16": lambda: x.bfloat16(),
        "sparse": lambda: x.to_sparse(),
        "csr": lambda: x.to_sparse_csr(),
        "gradient": lambda: x.clone().requires_grad_(),
    }
    data = load(rows(x_train=made[kind]()))
    assert data.train.x.equal(x)
    assert data.train.x.layout == torch.strided
