"""Describes the federated algorithm in a sentence or two."""

from accord.config.programs import ProgramSection
from accord.reports.words.formatting import count, plain

_LONGEST = 600
"""Most characters of the sentence, since a section may quote user input, such as the names of layers."""


def program_text(program: ProgramSection, population: int) -> str:
    """Names the algorithm, the participants of a round, and the weights of updates."""
    return plain(program.describe_rounds(count(program.rounds, "round"), _who(program, population)), _LONGEST)


def _who(program: ProgramSection, population: int) -> str:
    if program.poisson_cohorts:
        return f"each client takes part independently, {program.cohort_size} of {count(population)} expected"
    if program.cohort_size is None or program.cohort_size >= population:
        return "all clients take part"
    return f"{program.cohort_size} of {count(population, 'client')} are drawn without replacement"
