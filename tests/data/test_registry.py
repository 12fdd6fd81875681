"""A data set is one value: what it takes to add one is counted here."""

import typing
from pathlib import Path

import accord.data.sources
from accord.config.data import Data
from accord.config.sections import choices
from accord.data.registry import BY_SECTION, SOURCES

SECTIONS = typing.get_args(typing.get_args(Data)[0])


def test_each_section_has_one_source_of_its_name() -> None:
    assert len(SOURCES) == len(BY_SECTION) == len(SECTIONS)
    for section in SECTIONS:
        source = BY_SECTION[section]
        assert choices(section.model_fields["name"].annotation) == [source.facts.name]
        assert source.facts.about
        assert source.facts.how_to_get()


def test_a_data_set_is_named_in_its_own_module_and_in_the_table_alone() -> None:
    """Its section is in config/data.py, which stands below this room; here it is one module and one line."""
    room = Path(str(accord.data.sources.__file__)).parents[1]
    for name, section in (("diabetes", "DiabetesData"), ("occupancy", "OccupancyData"), ("adult", "AdultData")):
        naming = {path.name for path in room.rglob("*.py") if section in path.read_text(encoding="utf-8")}
        assert naming == {f"{name}.py"}
        listing = (room / "registry.py").read_text(encoding="utf-8").splitlines()
        assert [line.strip() for line in listing if name in line] == [f"{name},", f"{name}.SOURCE,"]
