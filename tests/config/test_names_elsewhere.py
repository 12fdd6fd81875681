"""Names from other libraries: each hint names a setting that there is, and is what an unknown key is answered with."""

import re

import pytest

import accord
from accord.config.load import parse_study
from accord.config.names_elsewhere import ELSEWHERE
from accord.config.schema import Study
from accord.config.sections import SECTIONS, settings
from accord.core.errors import StudyError


@pytest.mark.parametrize("key", ELSEWHERE)
def test_a_hint_names_what_there_is_for_a_key_that_there_is_not(key: str) -> None:
    for section, name in re.findall(r"\b(privacy|training|program|partition|engine)\.(\w+)", ELSEWHERE[key]):
        shape = SECTIONS[section]
        assert name == shape.tag or any(name in settings(cls) for cls in shape.classes)
    assert key not in Study.model_fields


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("privacy.max_grad_norm=1", "it is privacy.clip_norm here"),
        ("max_grad_norm=1", "it is privacy.clip_norm here"),
        ("noise_multiplier=1", "did you mean privacy.noise_multiplier?"),
        ("privacy.target_epsilon=1", "it is privacy.epsilon here"),
        ("num_clients=10", "it is partition.num_partitions here"),
        ("partition.num_clients=10", "it is partition.num_partitions here"),
        ("program.fraction_fit=0.1", "it is program.cohort_size here, a number of clients"),
        ("program.min_fit_clients=2", "it is program.min_clients here"),
        ("program.num_rounds=2", "it is program.rounds here"),
        ("training.lr=0.1", "it is training.learning_rate here"),
        ("lr=0.1", "it is training.learning_rate here"),
        ("training.batch=8", "it is training.batch_size here"),
        ("training.epochs=2", "it is training.local_epochs here"),
        ("training.max_epochs=2", "it is training.local_epochs here"),
        ("privacy.user=true", "privacy.unit client protects a client's whole data here"),
    ],
)
def test_an_unknown_key_is_answered_with_it(override: str, told: str) -> None:
    text = "{data: digits, privacy: {unit: sample, noise_multiplier: 1.0, delta: 1e-4}}"
    with pytest.raises(
        StudyError, match=re.escape(f"unknown {'key' if '.' in override.partition('=')[0] else 'section'}; {told}")
    ):
        parse_study(text, [override])


def test_lightnings_section_is_answered_with_the_setting_in_it() -> None:
    with pytest.raises(StudyError, match=r"trainer: unknown section; its max_epochs is training\.local_epochs here"):
        parse_study("{data: digits, trainer: {max_epochs: 2}}")


@pytest.mark.parametrize("override", ["+program.rounds=7", "++program.rounds=7", "program.rounds=7"])
def test_hydras_plus_is_taken(override: str) -> None:
    assert parse_study("data: digits", [override]).program.rounds == 7


def test_a_study_made_in_python_is_refused_in_one_line() -> None:
    with pytest.raises(StudyError, match=r"program.roundz: unknown key; did you mean 'rounds'") as caught:
        accord.Study(data={"name": "digits"}, program={"name": "fedavg", "roundz": 3})
    assert "\n" not in str(caught.value)
    with pytest.raises(StudyError, match="progam: unknown section; did you mean 'program'"):
        accord.Study(**{"data": "digits", "progam": {"name": "fedavg"}})
    assert accord.Study(data="digits") == accord.Study(data={"name": "digits"})
    assert isinstance(accord.Study(data="digits"), accord.Study)
