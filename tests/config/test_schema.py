from typing import Any

import pytest
from pydantic import ValidationError

from accord.config.base import Section
from accord.config.data import DigitsData
from accord.config.privacy import ClientPrivacy
from accord.config.schema import Study
from accord.config.sections import SECTIONS, shape


def with_inner(cls: type[Section]) -> list[type[Section]]:
    """A section and those inside it."""
    inner = [found for field in cls.model_fields.values() if (found := shape(field)) is not None]
    return [cls, *(deeper for found in inner for each in found.classes for deeper in with_inner(each))]


CLASSES = list(
    dict.fromkeys(each for section in SECTIONS.values() for cls in section.classes for each in with_inner(cls))
)
CAPPED = {"name": "fedavg", "weight_cap": 10}
CLIENT = {"unit": "client", "epsilon": 1.0, "delta": 1e-3}


def study(**settings: Any) -> Study:
    return Study.model_validate({"data": {"name": "digits"}, **settings})


def test_the_defaults_are_a_study() -> None:
    made = study()
    assert isinstance(made.data, DigitsData)
    assert (made.partition.name, made.model.name, made.program.name, made.engine.name) == (
        "iid",
        "mlp",
        "fedavg",
        "vectorised",
    )
    assert made.privacy is None
    assert made.fairness is None


@pytest.mark.parametrize("cls", [Study, *CLASSES])
def test_every_section_is_frozen_and_closed(cls: type[Section]) -> None:
    assert cls.model_config["frozen"]
    assert cls.model_config["extra"] == "forbid"


def test_a_study_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        study().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "settings",
    [
        {"privacy": CLIENT},
        {"privacy": CLIENT, "program": {"name": "cyclic"}},
    ],
)
def test_impossible_combinations_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        study(**settings)
    assert [error["type"] for error in caught.value.errors()] == ["value_error"]


def test_their_possible_neighbours_are_taken() -> None:
    capped = study(privacy=CLIENT, program={"name": "fedavg", "weight_cap": 100})
    assert isinstance(capped.privacy, ClientPrivacy)
    assert study(privacy=CLIENT, program={"name": "fedavg", "weights": "uniform"}).privacy == capped.privacy


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": True},
        {"seed": 1.0},
        {"seed": "1"},
        {"seed": -1},
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        study(**settings)


def test_the_json_schema_describes_every_section_and_closes_it() -> None:
    definitions = Study.model_json_schema()["$defs"]
    assert {cls.__name__ for cls in CLASSES} == set(definitions)
    for name, definition in definitions.items():
        assert definition["description"], name
        assert definition["additionalProperties"] is False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"program": {"name": "fedsgd"}}, "set training.batch_size to full"),
        ({"program": {"name": "scaffold"}, "training": {"momentum": 0.9}}, "scaffold needs plain SGD"),
        ({"program": {"name": "scaffold"}, "training": {"weight_decay": 0.1}}, "scaffold needs plain SGD"),
        ({"program": {"name": "fednova"}, "training": {"optimizer": "adam"}}, "fednova needs"),
        (
            {"privacy": {"unit": "client", "noise_multiplier": 1.0, "delta": 1e-3, "adaptive": {}}, "program": CAPPED},
            "set program.weights to uniform",
        ),
        (
            {
                "privacy": {
                    "unit": "client",
                    "noise_multiplier": 1.0,
                    "delta": 1e-3,
                    "adaptive": {},
                    "per_layer": True,
                },
                "program": {"name": "fedavg", "weights": "uniform"},
            },
            "drop per_layer",
        ),
    ],
)
def test_what_a_program_cannot_do_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        study(**settings)


def test_a_round_of_fedsgd_is_a_step() -> None:
    made = study(program={"name": "fedsgd"}, training={"batch_size": "full"})
    assert made.program.name == "fedsgd"
