from typing import Literal

from accord.config.compose import COMPOSES
from accord.config.engine import SequentialEngine
from accord.config.privacy import SamplePrivacy
from accord.config.programs.cyclic import CyclicProgram
from accord.config.programs.fedavg import FedAvgProgram
from accord.config.schema import Study
from accord.config.sections import SECTIONS, choices, settings, shape
from accord.config.training import Training


def test_every_part_of_a_study_but_the_seed_is_a_section() -> None:
    assert list(SECTIONS) == [name for name in Study.model_fields if name != "seed"]
    assert shape(Study.model_fields["seed"]) is None


def test_a_section_with_varieties() -> None:
    program = SECTIONS["program"]
    assert program.tag == "name"
    assert program.names["fedavg"] is FedAvgProgram
    assert program.names["cyclic"] is CyclicProgram
    assert set(program.names) == set(COMPOSES)
    assert program.default == "fedavg"
    assert not program.removable


def test_privacy_is_named_by_unit_and_has_no_default() -> None:
    privacy = SECTIONS["privacy"]
    assert privacy.tag == "unit"
    assert list(privacy.names) == ["sample", "batch", "client", "local"]
    assert privacy.default is None
    assert privacy.removable


def test_sections_without_varieties_and_with_one() -> None:
    assert SECTIONS["training"].tag is None
    assert SECTIONS["training"].classes == (Training,)
    assert SECTIONS["training"].names == {}
    assert SECTIONS["engine"].names["sequential"] is SequentialEngine
    assert SECTIONS["data"].default is None


def test_every_variety_is_the_class_that_says_its_name() -> None:
    for section in SECTIONS.values():
        assert len(section.names) == (len(section.classes) if section.tag else 0)
        for name, cls in section.names.items():
            assert choices(cls.model_fields[str(section.tag)].annotation) == [name]


def test_settings_leave_the_tag_out() -> None:
    assert settings(SequentialEngine) == ["shard_size", "device"]
    assert "unit" not in settings(SamplePrivacy)
    assert "delta" in settings(SamplePrivacy)


def test_choices_are_found_inside_unions() -> None:
    assert choices(int | Literal["full"] | None) == ["full"]
    assert choices(int) == []
