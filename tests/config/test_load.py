import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from accord.config.base import Section
from accord.config.data import DigitsData
from accord.config.load import dump_study, load_study, make_study, parse_study
from accord.config.partition import IidPartition
from accord.config.programs.cyclic import CyclicProgram
from accord.config.schema import Study
from accord.config.sections import SECTIONS
from accord.core.errors import RequestError, StudyError

STUDY = """\
# Three clients on digits
data: digits
partition:
  name: dirichlet
  num_partitions: 3
  alpha: 0.3
program:
  name: fedavg
  rounds: 4
  weights: uniform
privacy:
  unit: client
  epsilon: 3
  delta: 1e-2
seed: 7
"""


FEDAVG_TAKES = "fedavg takes: rounds, cohort_size, min_clients, cohort_sampling, weights, weight_cap"
PROGRAMS = ", ".join(SECTIONS["program"].names)
CYCLIC_CLIENT = (
    "x.yaml: program cyclic does not compose with privacy.unit client: no sum of updates is formed that noise could go "
    "on; use unit sample or batch, or program fedavg"
)
WEIGHTED = "fedavg, fedprox, fedsgd, fedopt, fednova, ditto, fedbn and geometric_median"
CYCLIC_TAKES = "cyclic takes: rounds, cohort_size, min_clients, order"
DATA_NEEDED = f"data: a study needs this section; give one of: {', '.join(SECTIONS['data'].names)}"


def message(text: str, *overrides: str) -> str:
    """What `parse_study` refuses with, which is one line."""
    with pytest.raises(StudyError) as caught:
        parse_study(text, overrides, "x.yaml")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == RequestError.exit_code
    return str(caught.value)


def test_a_study_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(STUDY, encoding="utf-8")
    study = load_study(path, ["seed=8"])
    assert isinstance(study.data, DigitsData)
    assert study.partition.model_dump()["alpha"] == 0.3
    assert study.privacy is not None
    assert (study.privacy.unit, study.privacy.delta, study.privacy.epsilon) == ("client", 1e-2, 3.0)
    assert study.seed == 8


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfdata: digits\r\nseed: 3\r\n")
    assert load_study(path).seed == 3


# --- what a file may leave out or shorten -------------------------------------------------------------


def test_a_section_may_be_the_bare_name_of_its_variety() -> None:
    assert parse_study("data: digits\nprogram: cyclic\n") == Study(
        data=DigitsData(name="digits"), program=CyclicProgram(name="cyclic")
    )


@pytest.mark.parametrize("section", ["partition", "training", "privacy", "fairness", "engine"])
def test_null_leaves_a_section_out(section: str) -> None:
    assert parse_study(f"data: digits\n{section}: null\n") == parse_study("data: digits")
    assert parse_study(f"data: digits\n{section}:\n") == parse_study("data: digits")


def test_set_changes_a_variety_and_keeps_what_both_have() -> None:
    study = parse_study(STUDY, ["privacy=null", "program.name=cyclic"])
    assert study.privacy is None
    assert study.program == CyclicProgram(name="cyclic", rounds=4)
    assert parse_study(STUDY, ["partition=iid"]).partition == IidPartition(name="iid", num_partitions=3)


def test_set_on_a_section_the_file_leaves_out_starts_from_the_default() -> None:
    assert parse_study("data: digits", ["program.rounds=2"]).program.rounds == 2
    assert parse_study("data: digits", ["model.hidden=[8, 8]"]).model.model_dump()["hidden"] == (8, 8)
    study = parse_study("data: digits", ["privacy.unit=sample", "privacy.epsilon=1", "privacy.delta=1e-5"])
    assert study.privacy is not None
    assert study.privacy.delta == 1e-5


# --- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "data: digits\nprogram:\n  name: fedavg\n  roundz: 3\n",
            f"x.yaml:4: program.roundz: unknown key; did you mean 'rounds'? ({FEDAVG_TAKES})",
        ),
        (
            "data: digits\nprogam: {}\n",
            "x.yaml:2: progam: unknown section; did you mean 'program'? "
            f"(a study has: {', '.join(Study.model_fields)})",
        ),
        (
            "data: digits\nprogram: cylic\n",
            f"x.yaml:2: program.name: unknown program 'cylic'; did you mean 'cyclic'? (one of: {PROGRAMS})",
        ),
        (
            "data: digits\nprivacy:\n  unit: rows\n  delta: 1.0e-5\n",
            "x.yaml:3: privacy.unit: unknown privacy 'rows' (one of: sample, batch, client, local)",
        ),
        (
            "data: digits\nmodel:\n  name: mlp\n  hidden:\n  - 8\n  - wide\n",
            "x.yaml:6: model.hidden[1]: expected a whole number, got the text 'wide'",
        ),
        (
            "data: digits\n\npartition:\n  name: natural\n",
            "x.yaml:3: partition.partition_by: missing; natural needs it",
        ),
        (
            "data: digits\ntraining:\n  local_steps: 1\n  local_epochs: 1\n",
            "x.yaml:2: training: give local_epochs or local_steps, not both",
        ),
        ("seed: 3\n", f"x.yaml: {DATA_NEEDED}"),
        ("data:\n", f"x.yaml:1: {DATA_NEEDED}"),
        (
            "data: digits\nevaluation: {twin: no}\n",
            "x.yaml:2: evaluation.twin: expected true or false, got the text 'no'",
        ),
        (
            "data: digits\nprivacy: {unit: client, epsilon: 1, delta: 1e-3}\nprogram: cyclic\n",
            CYCLIC_CLIENT,
        ),
        (
            "data: digits\nseed: 1\nseed: 2\n",
            "x.yaml:3:1: not valid YAML: key 'seed' is given twice, first in line 2",
        ),
        ("- data\n", "x.yaml: a study is a mapping of sections, such as data: digits; this is a list"),
        (
            "digits\n",
            "x.yaml: a study is a mapping of sections, such as data: digits; this is the text 'digits'",
        ),
        (
            "# nothing yet\n",
            "x.yaml: the file is empty; a study needs at least a data section, such as data: digits",
        ),
    ],
)
def test_a_mistake_in_the_file(text: str, expected: str) -> None:
    assert message(text) == expected


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "program.roundz=3",
            f"--set program.roundz=3: program.roundz: unknown key; did you mean 'rounds'? ({FEDAVG_TAKES})",
        ),
        (
            "program={name: fedavg, rounds: few}",
            "--set program={name: fedavg, rounds: few}: program.rounds: expected a whole number, got the text 'few'",
        ),
        (
            "program=cylic",
            f"--set program=cylic: program.name: unknown program 'cylic'; did you mean 'cyclic'? (one of: {PROGRAMS})",
        ),
        ("seed=x", "--set seed=x: seed: expected a whole number, got the text 'x'"),
        (
            "privacy.delta=1e-5",
            "--set privacy.delta=1e-5: privacy: 'unit' is missing; give one of: sample, batch, client, local",
        ),
        ("privacy=sample", "--set privacy=sample: privacy.delta: missing; sample needs it"),
        (
            "training.local_steps=2",
            "x.yaml:2: training: give local_epochs or local_steps, not both (with --set training.local_steps=2)",
        ),
        ("rounds", "--set rounds: not of the form key=value, such as program.rounds=20"),
    ],
)
def test_a_mistake_on_the_command_line(override: str, expected: str) -> None:
    assert message("data: digits\ntraining: {local_epochs: 1}\n", override) == expected


def test_what_set_replaced_is_not_looked_for_in_the_file() -> None:
    assert message(STUDY, "program={name: fedavg, rounds: few}", "privacy=null") == (
        "--set program={name: fedavg, rounds: few}: program.rounds: expected a whole number, got the text 'few'"
    )


def test_a_combination_names_the_sets_that_made_it() -> None:
    assert message(STUDY, "program=cyclic") == f"{CYCLIC_CLIENT} (with --set program=cyclic)"


def test_a_key_the_files_own_variety_does_not_know_stays_a_mistake() -> None:
    text = "data: digits\nprogram:\n  name: cyclic\n  weights: size\n"
    expected = f"x.yaml:4: program.weights: unknown key; it belongs to {WEIGHTED} ({CYCLIC_TAKES})"
    assert message(text) == expected
    assert message(text, "program.name=fedavg") == expected


def test_all_mistakes_in_reading_order_a_line_each() -> None:
    text = "data: {name: custom, functon: a}\nseed: x\nprogram: {name: fedavg, weights: all}\n"
    with pytest.raises(StudyError) as caught:
        parse_study(text, (), "x.yaml")
    assert [line.partition(": ")[2].partition(": ")[0] for line in str(caught.value).splitlines()] == [
        "data.functon",
        "seed",
        "program.weights",
        "data.function",
    ]
    assert tuple(str(caught.value).splitlines()) == caught.value.problems


def test_odd_keys_and_values_stay_on_one_line() -> None:
    assert "unknown section" in message('data: digits\n"a\\nb": 1\n')
    assert "'a\\nb'" in message('data: digits\nseed: "a\\nb"\n')
    assert "unknown section" in message("data: digits\n3: 1\n")


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("data: digits")
    with pytest.raises(StudyError) as caught:
        load_study(tmp_path / "digit.yaml")
    assert str(caught.value) == (f"{tmp_path}/digit.yaml: there is no such study file; did you mean 'digits.yaml'?")
    with pytest.raises(StudyError, match=r": there is no such study file$"):
        load_study(tmp_path / "nowhere" / "digits.yaml")
    with pytest.raises(StudyError, match=r": cannot be read: Is a directory$"):
        load_study(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\x80\x02}q")
    with pytest.raises(StudyError, match=r"binary.yaml: not a study file: it is not UTF-8 text$"):
        load_study(tmp_path / "binary.yaml")


# --- in Python ----------------------------------------------------------------------------------------


def test_make_study_takes_mappings_short_forms_and_sections() -> None:
    made = make_study({"data": "digits", "program": CyclicProgram(name="cyclic"), "partition": None})
    assert made == Study(data=DigitsData(name="digits"), program=CyclicProgram(name="cyclic"))


def test_make_study_refuses_in_one_line_without_a_place() -> None:
    with pytest.raises(StudyError) as caught:
        make_study({"data": "digits", "program": {"name": "cyclic", "roundz": 1}})
    assert str(caught.value) == (f"program.roundz: unknown key; did you mean 'rounds'? ({CYCLIC_TAKES})")
    assert isinstance(caught.value.__cause__, ValidationError)


# --- writing ------------------------------------------------------------------------------------------


def test_the_resolved_study_says_everything_varieties_first() -> None:
    study = parse_study(STUDY)
    text = dump_study(study)
    assert text.startswith("data:\n  name: digits\n  test_fraction: 0.2\npartition:\n  name: dirichlet\n")
    written = yaml.safe_load(text)
    assert list(written) == list(Study.model_fields)
    assert next(iter(written["privacy"])) == "unit"
    for name, value in study:
        if isinstance(value, Section):
            assert set(written[name]) == set(type(value).model_fields)
    assert written["fairness"] is None


def test_what_cannot_be_written_names_its_section() -> None:
    study = make_study({"data": {"name": "custom", "function": "a:b", "settings": {"path": Path("x")}}})
    with pytest.raises(StudyError, match=r"^data: a PosixPath cannot be written to a study file$"):
        dump_study(study)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def values(annotation: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    """Valid values of one setting, read off its type and limits."""
    if get_origin(annotation) is Annotated:
        inner, *notes = get_args(annotation)
        return values(inner, [limit for note in notes if isinstance(note, FieldInfo) for limit in note.metadata])
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if get_origin(annotation) is tuple:
        least = max((getattr(limit, "min_length", 0) for limit in limits), default=0)
        most = min((getattr(limit, "max_length", 4) for limit in limits), default=4)
        return st.lists(values(get_args(annotation)[0], []), min_size=least, max_size=most).map(tuple)
    if get_origin(annotation) is dict:
        key, kind = get_args(annotation)
        keys = st.text() if key is str else values(key, [])
        return st.dictionaries(keys, PLAIN if kind is Any else values(kind, []), max_size=3)
    if annotation in {int, float}:
        return numbers(annotation, limits)
    if annotation is str:
        pattern = next((limit.pattern for limit in limits if getattr(limit, "pattern", None)), None)
        if pattern is not None:
            return st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii"))
        least = max((getattr(limit, "min_length", 0) for limit in limits), default=0)
        most = min((getattr(limit, "max_length", 9) for limit in limits), default=9)
        return st.text(min_size=least, max_size=most)
    if annotation in {bool, type(None)}:
        return st.from_type(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return sections(annotation)
    return st.one_of([values(part, limits) for part in get_args(annotation)])


def numbers(kind: type, limits: list[Any]) -> st.SearchStrategy[Any]:
    bounds = {
        name: getattr(limit, name) for limit in limits for name in ("ge", "gt", "lt", "le") if hasattr(limit, name)
    }
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("lt", bounds.get("le"))
    if kind is int:
        return st.integers(low, high)
    return st.floats(
        low,
        high,
        exclude_min="gt" in bounds,
        exclude_max="lt" in bounds,
        allow_nan=False,
        allow_infinity=False,
    )


def sections(cls: type[Section]) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of one variety that it takes; combinations that it refuses are drawn again."""

    def taken(settings: Mapping[str, Any]) -> bool:
        try:
            cls.model_validate(settings)
        except ValidationError as error:
            if "value_error" not in {one["type"] for one in error.errors()}:
                raise  # what is drawn should have the right types
            return False
        return True

    fields = {name: values(field.annotation, field.metadata) for name, field in cls.model_fields.items()}
    optional = {name: fields.pop(name) for name, field in cls.model_fields.items() if not field.is_required()}
    return st.fixed_dictionaries(fields, optional=optional).filter(taken)


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of a valid study."""
    drawn: dict[str, Any] = {"seed": draw(st.integers(0))}
    for name, section in SECTIONS.items():
        if name != "sweep" and (name == "data" or draw(st.booleans())):  # which is never written
            classes = st.sampled_from(section.classes)
            if section.many:
                drawn[name] = [draw(sections(each)) for each in draw(st.lists(classes, unique=True))]
            else:
                drawn[name] = draw(sections(draw(classes)))
    if drawn.get("privacy", {}).get("unit") == "client":
        drawn["program"] = {"name": "fedavg", "weights": "uniform"}
    try:
        make_study(drawn)
    except StudyError:  # parts that do not go together
        reject()
    return drawn


@given(drawn=studies())
@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
def test_what_is_written_loads_back_equal(drawn: dict[str, Any]) -> None:
    study = make_study(drawn)
    text = dump_study(study)
    again = parse_study(text)
    assert again == study
    assert again.model_dump_json() == study.model_dump_json()  # 1 and 1.0 are equal, but not the same
    assert dump_study(again) == text


@given(drawn=studies(), data=st.data())
@settings(derandomize=True, deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
def test_changing_any_variety_of_a_valid_study_drops_only_what_it_must(
    drawn: dict[str, Any], data: st.DataObject
) -> None:
    text = dump_study(make_study(drawn))
    name = data.draw(st.sampled_from(["partition", "program"]))
    new = data.draw(st.sampled_from(list(SECTIONS[name].names)))
    try:
        changed = parse_study(text, [f"{name}={new}", "privacy=null"])
    except StudyError as error:
        if not str(error).endswith(f": missing; {new} needs it") and f"program {new} " not in str(error):
            raise
        return
    before, after = getattr(parse_study(text), name).model_dump(), getattr(changed, name).model_dump()
    shared = {key for key in set(before) & set(after) - {"name"} if before[key] is not None}
    assert after["name"] == new
    assert {key: before[key] for key in shared} == {key: after[key] for key in shared}


def test_all_problems_are_told_in_the_order_of_the_file() -> None:
    text = "data: {name: digits, test_fraction: 2}\nprogram: {name: fedavg, roundz: 3}\nmodell: mlp\n"
    with pytest.raises(StudyError, match=r"^x\.yaml:1: .*\nx\.yaml:2: ") as refused:
        parse_study(text, source="x.yaml")
    first, second, third = refused.value.problems
    assert first.startswith("x.yaml:1: data.test_fraction: expected a value < 1, got 2")
    assert second.startswith("x.yaml:2: program.roundz: unknown key; did you mean 'rounds'?")
    assert third.startswith("x.yaml:3: modell: unknown section; did you mean 'model'?")
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.problems) == (str(refused.value), refused.value.problems)
    assert StudyError("one").problems == ("one",)
