from typing import Any

import pytest
from pydantic import ValidationError

from accord.config.problems import Problem, got, nearest, problems, unknown_key
from accord.config.programs.cyclic import CyclicProgram
from accord.config.schema import Study
from accord.config.sections import SECTIONS
from accord.config.training import Training

DIGITS = {"name": "digits"}


def found(**settings: Any) -> list[Problem]:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({"data": DIGITS} | settings)
    return problems(caught.value.errors(include_url=False))


PARTITIONS = (
    "iid, dirichlet, shard, pathological, size, linear, square, exponential, inner-dirichlet, "
    "inner-dirichlet-parallel, natural, grouped-natural, continuous, distribution, contiguous, sorted"
)
FEDAVG_TAKES = "fedavg takes: rounds, cohort_size, min_clients, cohort_sampling, weights, weight_cap"
PROGRAMS = ", ".join(SECTIONS["program"].names)


@pytest.mark.parametrize(
    ("settings", "path", "text"),
    [
        # unknown keys
        (
            {"program": {"name": "fedavg", "roundz": 3}},
            "program.roundz",
            f"unknown key; did you mean 'rounds'? ({FEDAVG_TAKES})",
        ),
        ({"program": {"name": "fedavg", "fedavg": 3}}, "program.fedavg", f"unknown key ({FEDAVG_TAKES})"),
        ({"program": {"name": "fedavg", 1: 3}}, "program.1", f"unknown key ({FEDAVG_TAKES})"),
        (
            {"partition": {"name": "iid", "alpha": 0.3}},
            "partition.alpha",
            "unknown key; it belongs to dirichlet, inner-dirichlet and inner-dirichlet-parallel "
            "(iid takes: num_partitions)",
        ),
        (
            {"model": {"name": "logistic", "xyz": 1}},
            "model.xyz",
            "unknown key (logistic takes: pretrained, pretrained_sha256, pretrained_except, freeze, lora)",
        ),
        (
            {"engine": {"name": "sequential", "delta": 0.5}},
            "engine.delta",
            "unknown key; did you mean privacy.delta? (sequential takes: shard_size, device)",
        ),
        (
            {"fairness": {"groups": ["sex"], "group": ["sex"]}},
            "fairness.group",
            "unknown key; did you mean 'groups'? (fairness takes: groups, positive, confidence, min_group_size)",
        ),
        # varieties
        (
            {"data": {"name": "handed"}},
            "data.name",
            "unknown data 'handed'; it is in_memory (one of: digits, mnist, fashion-mnist, adult, celeba-attributes, "
            "celeba, occupancy, diabetes, synthetic, text, custom, csv, sites, in_memory)",
        ),
        (
            {"partition": {"name": "dirichelet"}},
            "partition.name",
            f"unknown partition 'dirichelet'; did you mean 'dirichlet'? (one of: {PARTITIONS})",
        ),
        ({"partition": {"name": "zzz"}}, "partition.name", f"unknown partition 'zzz' (one of: {PARTITIONS})"),
        (
            {"program": {"name": "FedAvgM"}},
            "program.name",
            f"unknown program 'FedAvgM'; it is fedopt with server_optimizer sgd (one of: {PROGRAMS})",
        ),
        ({"partition": {"name": ["iid"]}}, "partition.name", f"expected one of {PARTITIONS}, got a list"),
        ({"partition": {"name": None}}, "partition.name", f"expected one of {PARTITIONS}, got null"),
        ({"partition": {"alpha": 1}}, "partition", f"'name' is missing; give one of: {PARTITIONS}"),
        (
            {"privacy": {"name": "sample", "delta": 1e-5}},
            "privacy",
            "'unit' is missing (is 'name' meant to be it?); give one of: sample, batch, client, local",
        ),
        (
            {"program": {"nmae": "fedavg"}},
            "program",
            f"'name' is missing (is 'nmae' meant to be it?); give one of: {PROGRAMS}",
        ),
        (
            {"engine": {"name": "sequentiel"}},
            "engine.name",
            "unknown engine 'sequentiel'; did you mean 'sequential'? (one of: sequential, vectorised, federation)",
        ),
        ({"engine": {"shard_size": 3}}, "engine", "'name' is missing; give one of: sequential, vectorised, federation"),
        # missing
        ({"partition": {"name": "natural"}}, "partition.partition_by", "missing; natural needs it"),
        (
            {"data": None},
            "data",
            "expected a section of keys and values, got null",
        ),
        # wrong types and values
        ({"seed": "7"}, "seed", "expected a whole number, got the text '7'"),
        ({"seed": True}, "seed", "expected a whole number, got true"),
        ({"seed": 1.5}, "seed", "expected a whole number, got 1.5"),
        ({"seed": -1}, "seed", "expected a value >= 0, got -1"),
        ({"training": {"learning_rate": 0}}, "training.learning_rate", "expected a value > 0, got 0"),
        (
            {"training": {"learning_rate": "0.1"}},
            "training.learning_rate",
            "expected a number, got the text '0.1'",
        ),
        ({"training": {"momentum": 1}}, "training.momentum", "expected a value < 1, got 1"),
        (
            {"training": {"optimizer": "adm"}},
            "training.optimizer",
            "expected 'sgd', 'adam' or 'adamw' or module:function, got the text 'adm'; did you mean 'adam'?",
        ),
        (
            {"training": {"batch_size": "ful"}},
            "training.batch_size",
            "expected a whole number or 'full', got the text 'ful'; did you mean 'full'?",
        ),
        ({"training": {"batch_size": 0}}, "training.batch_size", "expected a value >= 1 or 'full', got 0"),
        ({"training": "adam"}, "training", "expected a section of keys and values, got the text 'adam'"),
        ({"program": 3}, "program", "expected a section of keys and values, got 3"),
        ({"evaluation": {"twin": "yes"}}, "evaluation.twin", "expected true or false, got the text 'yes'"),
        (
            {"partition": {"name": "natural", "partition_by": 5}},
            "partition.partition_by",
            "expected text, got 5; put it in quotes",
        ),
        ({"model": {"name": "mlp", "hidden": 64}}, "model.hidden", "expected a list, got 64; write [64]"),
        (
            {"fairness": {"groups": "sex"}},
            "fairness.groups",
            "expected a list, got the text 'sex'; write [sex]",
        ),
        ({"model": {"name": "mlp", "hidden": None}}, "model.hidden", "expected a list, got null"),
        ({"model": {"name": "mlp", "hidden": {"a": 1}}}, "model.hidden", "expected a list, got a mapping"),
        (
            {"model": {"name": "mlp", "hidden": [8, "a"]}},
            "model.hidden.1",
            "expected a whole number, got the text 'a'",
        ),
        (
            {"partition": {"name": "size", "partition_sizes": []}},
            "partition.partition_sizes",
            "expected at least 1 item, got an empty list",
        ),
        (
            {"data": {"name": "occupancy", "light": [5]}},
            "data.light",
            "expected at least 2 items, got a list of 1",
        ),
        (
            {"data": {"name": "occupancy", "light": [0, 5, 9]}},
            "data.light",
            "expected at most 2 items, got a list of 3",
        ),
        (
            {"data": {"name": "csv", "path": "a.csv", "target": "y", "delimiter": ";;"}},
            "data.delimiter",
            "expected at most 1 character, got the text ';;'",
        ),
        (
            {"data": {"name": "text", "path": "a", "alphabet": "x"}},
            "data.alphabet",
            "expected at least 2 characters, got the text 'x'",
        ),
        (
            {"partition": {"name": "dirichlet", "alpha": float("inf")}},
            "partition.alpha",
            "expected a finite number or a list, got inf",
        ),
        (
            {"model": {"name": "custom", "function": "a:b", "settings": 3}},
            "model.settings",
            "expected a mapping of keys to values, got 3",
        ),
        (
            {"model": {"name": "custom", "function": "a:b", "settings": {1: 3}}},
            "model.settings.1",
            "keys here are text; put 1 in quotes",
        ),
        # combinations
        (
            {"training": {"local_epochs": 1, "local_steps": 1}},
            "training",
            "give local_epochs or local_steps, not both",
        ),
        (
            {"privacy": {"unit": "sample", "delta": 1e-5}},
            "privacy",
            "give epsilon (a budget), noise_multiplier, or both",
        ),
        (
            {"privacy": {"unit": "client", "delta": 1e-5, "epsilon": 1}},
            "",
            "privacy.unit client with program.weights size has no bound on a client's weight; "
            "set program.weights to uniform or give program.weight_cap",
        ),
    ],
)
def test_one_problem_in_words(settings: dict[str, Any], path: str, text: str) -> None:
    (problem,) = found(**settings)
    assert ".".join(map(str, problem.path)) == path
    assert problem.text == text


@pytest.mark.parametrize("optimizer", ["adam", "yogi", "adagrad"])
def test_server_optimizers_known_as_programs_lead_to_fedopt(optimizer: str) -> None:
    (problem,) = found(program={"name": f"fed{optimizer}"})
    assert f"; it is fedopt with server_optimizer {optimizer} (" in problem.text


def test_a_study_without_data() -> None:
    with pytest.raises(ValidationError) as caught:
        Study.model_validate({})
    (problem,) = problems(caught.value.errors())
    assert problem.path == ("data",)
    assert problem.text.startswith("a study needs this section; give one of: digits, mnist,")
    assert problem.missing


def test_an_unknown_section_names_the_nearest_or_the_settings_home() -> None:
    (near,) = found(progam={})
    assert near.text.startswith("unknown section; did you mean 'program'? (a study has: data, partition, model,")
    (home,) = found(rounds=3)
    assert home.text.startswith("unknown section; did you mean program.rounds? (a study has: data,")
    (neither,) = found(zzz=3)
    assert neither.text.startswith("unknown section (a study has: data,")


def test_several_problems_each_once() -> None:
    several = found(training={"batch_size": "x", "dtype": "f"}, program={"name": "fedavg", "a": 1, "b": 2})
    assert [".".join(map(str, one.path)) for one in several] == [
        "training.batch_size",
        "training.dtype",
        "program.a",
        "program.b",
    ]


def test_unknown_key_of_a_section_without_a_name() -> None:
    assert unknown_key(("training", "zzz"), Training).text.startswith("unknown key (training takes: optimizer,")
    assert "it belongs to fedavg" in unknown_key(("program", "weights"), CyclicProgram).text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "null"),
        (False, "false"),
        (3, "3"),
        (1e-5, "1e-05"),
        ("a\nb", "the text 'a\\nb'"),
        ("x" * 100, f"the text '{'x' * 57}'..."),
        ([1], "a list"),
        ((), "an empty list"),
        ({}, "a mapping"),
        (Training(), "a mapping"),
        (object(), "an object of type object"),
    ],
)
def test_values_in_words(value: object, words: str) -> None:
    assert got(value) == words


def test_nearest_looks_past_capitals_and_stays_silent_when_nothing_is_near() -> None:
    assert nearest("FedAVG", ["fedavg", "cyclic"]) == "; did you mean 'fedavg'?"
    assert nearest("zzz", ["fedavg", "cyclic"]) == ""
    assert nearest("x", []) == ""


def test_without_a_variety_the_other_keys_are_told_too() -> None:
    told = {".".join(map(str, problem.path)): problem.text for problem in found(privacy={"max_grad_norm": 1.0})}
    assert told["privacy"].startswith("'unit' is missing")
    assert told["privacy.max_grad_norm"].startswith("unknown key; it is privacy.clip_norm here")
    assert told["privacy.delta"].startswith("missing;")
    assert told.keys() == {"privacy", "privacy.max_grad_norm", "privacy.delta"}
    assert {".".join(map(str, problem.path)) for problem in found(partition={"name": "iidd", "alpa": 1})} == {
        "partition.name",
        "partition.alpa",
    }
    assert len(found(partition={"name": "iidd", "alpha": 1})) == 1  # a key that some partition takes


@pytest.mark.parametrize(
    ("given", "path", "said"),
    [
        ({"dates": ["signup"]}, "data.dates", "got a list; write {signup: year-month-day}"),
        ({"dates": "signup"}, "data.dates", "got the text 'signup'; write {signup: year-month-day}"),
        ({"ranges": ["age", "pay"]}, "data.ranges", "got a list; write {age: [0, 120], pay: [0, 120]}"),
        ({"fill": 3}, "data.fill", "got 3; write {age: 40}"),
        (
            {"dates": {"signup": "days-since"}},
            "data.dates.signup",
            "expected 'year-month-day', 'days_since' or 'cyclic', got the text 'days-since'; "
            "did you mean 'days_since'?",
        ),
        ({"bins": {"age": 3}}, "data.bins.age", "expected a list, got 3; write [3]"),
    ],
)
def test_a_mapping_names_its_form_its_key_and_its_values(given: dict[str, Any], path: str, said: str) -> None:
    (problem,) = found(data={"name": "csv", "path": "t.csv", "target": "y"} | given)
    assert ".".join(map(str, problem.path)) == path
    assert problem.text.endswith(said)
