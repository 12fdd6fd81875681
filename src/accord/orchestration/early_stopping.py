"""Early stopping: validation scores by round, the decision to end, and the best model so far."""

from collections.abc import Sequence
from dataclasses import replace

from accord.config.evaluation import EarlyStopping
from accord.core.params import Params
from accord.orchestration.prepared import Prepared
from accord.orchestration.scoring import scores_of
from accord.program.evaluate import evaluate
from accord.program.validation import Watch, watch
from accord.records.round_record import RoundRecord, TestScores


def validate(prepared: Prepared, params: Params) -> TestScores | None:
    """Evaluates the model on the validation rows, or returns None where there are none."""
    table, section = prepared.federated.validation, prepared.study.evaluation.early_stopping
    if table is None or section is None:
        return None
    task, batch_size = prepared.work.task, prepared.study.evaluation.batch_size
    known = {score.result_key for score in task.kind.scores}
    # Scores that are otherwise computed at the end alone may need every label's probability.
    late = [score for score in task.kind.final_scores if score.result_key == section.metric not in known]
    evaluated = evaluate(task, params, table, batch_size, keep_probabilities=bool(late))
    evaluated = replace(evaluated, positive=prepared.positive)
    found = scores_of(evaluated)
    return replace(found, scores={**found.scores, **{score.result_key: score.of(evaluated) for score in late}})


def watched(section: EarlyStopping, records: Sequence[RoundRecord]) -> Watch:
    """Summarises the validation scores recorded so far. Rounds that were not evaluated do not count."""
    known = [(record.round, record.validation) for record in records if record.validation is not None]
    if not known:
        return Watch()
    scores = [(round_number, validation[section.metric]) for round_number, validation in known]
    return watch(scores, known[0][1].kind.lower_is_better(section.metric), section.min_delta)


def best_params(
    prepared: Prepared, records: Sequence[RoundRecord], params: Params, before: Params | None
) -> Params | None:
    """Returns the parameters of the best round so far.

    They are those after the last round (`params`) or the best before it (`before`). The result is None without early
    stopping, and before the first score.
    """
    section = prepared.study.evaluation.early_stopping
    if section is None:
        return None
    return params if watched(section, records).best_round == records[-1].round else before


def kept_round(prepared: Prepared, records: Sequence[RoundRecord]) -> int:
    """Returns the round whose model is kept if the run ends after the recorded rounds: the best, or the last."""
    section = prepared.study.evaluation.early_stopping
    best = watched(section, records).best_round if section is not None else None
    return best or len(records)


def why_end(prepared: Prepared, records: Sequence[RoundRecord]) -> str | None:
    """Returns one line that says why the run ends after the recorded rounds, or None where it continues."""
    section = prepared.study.evaluation.early_stopping
    if section is None:
        return None
    seen = watched(section, records)
    if seen.waited < section.patience:
        return None
    return (
        f"no better {section.metric} on the rows held out in {seen.waited} evaluations; "
        f"the model of round {kept_round(prepared, records)} is kept"
    )
