"""Builds the program that a study names. Its section says which function builds it, so no program is named here."""

import importlib
from collections.abc import Callable
from typing import Any

from accord.config.programs import ProgramSection
from accord.config.schema import Study
from accord.program.base import Program
from accord.program.cohorts import Sizes, check_cohort
from accord.program.context import ProgramContext
from accord.program.local import ClientWork

Builder = Callable[[Any, ProgramContext], Program]
"""Maps a section and the context to its program."""


def builder_of(section: type[ProgramSection]) -> Builder:
    """Returns the function that a section's `builder` names."""
    module, _, function = section.builder.partition(":")
    found: Builder = getattr(importlib.import_module(module), function)
    return found


def make_program(study: Study, work: ClientWork, sizes: Sizes) -> Program:
    """Builds the federated algorithm that a study names, over clients with `sizes` training rows.

    Raises:
        RequestError: the program does not support these clients, this network or this privacy plan.
    """
    context = ProgramContext(work, sizes, study.training)
    return builder_of(type(study.program))(study.program, context)


def check_population(study: Study, population: int) -> None:
    """Refuses a program that samples, or waits for, more clients than there are.

    Raises:
        StudyError: names the setting.
    """
    check_cohort(study, population)
