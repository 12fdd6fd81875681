"""What Tab offers, against the schema."""

import pytest

from accord.cli.completion import complete_data, complete_engine, complete_set
from accord.config.load import parse_study
from accord.config.schema import Study


def test_every_section_is_offered() -> None:
    offered = complete_set("")
    assert {each.rstrip("=.") for each in offered} == set(Study.model_fields)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("engine.name=", ["engine.name=federation", "engine.name=sequential", "engine.name=vectorised"]),
        ("privacy=", ["privacy=batch", "privacy=client", "privacy=local", "privacy=null", "privacy=sample"]),
        ("training.optimizer=s", ["training.optimizer=sgd"]),
        ("training.local_s", ["training.local_steps="]),
        ("evaluation.tw", ["evaluation.twin="]),
        ("evaluation.twin=", ["evaluation.twin=false", "evaluation.twin=true"]),
        ("nonsense.", []),
        ("nonsense=", []),
    ],
)
def test_settings_and_values(typed: str, offered: list[str]) -> None:
    assert complete_set(typed) == offered


def test_what_is_offered_is_taken() -> None:
    for each in complete_set("engine.name="):
        assert parse_study("data: digits", [each])


def test_names() -> None:
    assert "digits" in complete_data("")
    assert complete_engine("v") == ["vectorised"]
