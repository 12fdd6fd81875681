"""A study's rounds without a run folder: the parameters after them, and what they cost."""

from accord.config.schema import Study
from accord.core.params import Params
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.program.base import Cohort, RoundOutcome
from accord.program.cohorts import draw_cohort


def played(study: Study) -> tuple[Prepared, Params, list[RoundOutcome]]:
    """The study made ready, the final parameters, and each round's cost."""
    prepared = prepare(study)
    state, outcomes = prepared.program.init(prepared.initial), []
    for number in range(1, study.program.rounds + 1):
        cohort = Cohort(number, draw_cohort(study, prepared.population, number, prepared.streams))
        state, outcome = prepared.program.round(state, cohort, prepared.engine, prepared.streams)
        outcomes.append(outcome)
    return prepared, dict(state.params), outcomes
