"""Every section names a builder that takes it, and no other module than its own names it."""

import inspect
import re
from pathlib import Path

import pytest

import accord
from accord.config.compose import SECTIONS
from accord.config.programs import PROGRAMS, ProgramSection
from accord.program.base import Program
from accord.program.context import ProgramContext
from accord.program.registry import builder_of

SOURCE = Path(accord.__file__).parent


@pytest.mark.parametrize("section", PROGRAMS, ids=SECTIONS)
def test_every_section_has_a_builder_that_takes_it(section: type[ProgramSection]) -> None:
    (first, second), found = (
        inspect.signature(builder_of(section)).parameters.values(),
        inspect.signature(builder_of(section)),
    )
    assert issubclass(section, first.annotation)
    assert second.annotation is ProgramContext
    assert found.return_annotation is Program


@pytest.mark.parametrize("section", PROGRAMS, ids=SECTIONS)
def test_a_program_is_named_in_its_own_files_and_one_table(section: type[ProgramSection]) -> None:
    """What a new program touches: its section's file, its algorithm's file, and a line of `config/programs`.

    The schema names its default, and nothing else names any.
    """
    naming = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if re.search(rf"\b{section.__name__}\b", path.read_text())
    }
    algorithm = section.builder.partition(":")[0].removeprefix("accord.").replace(".", "/") + ".py"
    own = section.__module__.removeprefix("accord.").replace(".", "/") + ".py"
    default = {"config/schema.py"} if section.__name__ == "FedAvgProgram" else set()
    assert naming - default <= {own, algorithm, "config/programs/__init__.py"}
    assert {own, "config/programs/__init__.py"} <= naming
