"""The rows a run is evaluated on: test rows without those held out for early stopping, and their sensitive groups."""

from collections.abc import Mapping

from accord.config.evaluation import Evaluation, Fairness
from accord.core.errors import StudyError
from accord.data.federated import DataSet, FederatedData
from accord.fairness.groups import Grouping
from accord.orchestration.predictions import check_predictions
from accord.program.evaluate import groupings, positive_label
from accord.program.fine_tuning import check_clients
from accord.program.validation import hold_out
from accord.tasks.base import Score
from accord.tasks.custom import custom_scores
from accord.tasks.kinds import kind_of_classes


def hold_out_rows(section: Evaluation, federated: FederatedData, seed: int) -> FederatedData:
    """Moves the rows that early stopping decides by out of the test set.

    Args:
        section: the study's `evaluation` section.
        federated: the data, assigned to clients.
        seed: the study's seed.

    Raises:
        StudyError: early stopping or fine-tuning asks for what the data lacks, or a package is missing.
    """
    check_predictions(section)
    if section.early_stopping is not None:
        _check_metric(section.early_stopping.metric, federated.data)
        federated = hold_out(federated, section.early_stopping.fraction, seed)
    if section.fine_tune is not None:
        check_clients(section.fine_tune.clients, len(federated.train))
    return federated


def _check_metric(metric: str, data: DataSet) -> None:
    """Refuses a name that is none of the scores of this kind of task."""
    kind = kind_of_classes(len(data.class_names))
    known = [score.result_key for score in kind.all_scores]
    if metric not in known:
        raise StudyError(
            f"evaluation.early_stopping.metric {metric} is no score of a {kind.name}; set it to one of "
            f"{', '.join(known)}"
        )


def metrics_of(section: Evaluation, data: DataSet) -> tuple[Score, ...]:
    """Returns the user-defined metrics that a study names.

    Raises:
        StudyError: a metric breaks its contract.
    """
    return custom_scores(section.metrics, len(data.class_names))


def sensitive_groups(section: Fairness | None, data: DataSet) -> tuple[Mapping[str, Grouping], int | None]:
    """Returns the test rows' sensitive groups by column, and the label that counts as selected.

    Args:
        section: the study's `fairness` section. None gives no groups.
        data: the data whose test rows are grouped.

    Raises:
        StudyError: the data lacks a named column or label.
    """
    if section is None:
        return {}, None
    return groupings(data, section.groups), positive_label(section.positive, data)
