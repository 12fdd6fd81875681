"""The form in which a study is sent to sites, and what a study may not ask for between organisations."""

from accord.config.engine import FederationEngine
from accord.config.load import make_study
from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import StudyError
from accord.transport.messages import canonical

_OWN = {"engine", "trackers", "sweep"}
"""Sections that decide where the requester's part runs, and nothing at a site."""


def sent_study(study: Study) -> str:
    """Returns a study as sites judge and approve it, in canonical JSON.

    Without the engine, trackers and the requester's own stand-in rows, so that an approval outlives a change of those.
    """
    values = study.model_dump(mode="json", exclude=_OWN)
    values["data"].pop("simulation", None)
    if isinstance(study.data, SitesData) and study.data.schema.shape is None:
        # Canonical JSON sorts its keys, and columns that are features by being stated have the order of their keys.
        values["data"]["schema"]["features"] = list(study.data.schema.feature_names)
    return canonical(values).decode()


def received_study(text: str) -> Study:
    """Reads a study that was sent. It is validated anew, whatever the sender has checked.

    Raises:
        StudyError: it is no study, or not in its canonical form.
    """
    import json

    try:
        values = json.loads(text)
    except ValueError as error:
        raise StudyError("the study that was sent is not JSON") from error
    if not isinstance(values, dict):
        raise StudyError("the study that was sent is no study")
    study = make_study(values)
    if sent_study(study) != text:
        # Two texts of one study would have two digests, and an approval of one would say nothing of the other.
        raise StudyError("the study that was sent is not in its resolved, canonical form; do both run one version?")
    return study


def check_for_sites(study: Study) -> tuple[FederationEngine, SitesData]:
    """Refuses what cannot run between organisations, and returns the sections of the engine and the data.

    Raises:
        StudyError: names the setting and the mend.
    """
    engine, data, evaluation = study.engine, study.data, study.evaluation
    if not isinstance(engine, FederationEngine):
        raise StudyError(f"engine {engine.name} runs in one place; between organisations it is engine=federation")
    if not isinstance(data, SitesData):
        raise StudyError(
            f"data {data.name} is read in one place; engine federation needs data: {{name: sites, data_set: ..., "
            "schema: ...}, which names rows at the sites"
        )
    refused = {
        "attack": study.attack is not None and "malicious clients are simulated",
        "imbalance": study.imbalance is not None and "rows are selected by who has all of them",
        "evaluation.twin": evaluation.twin and "it would train on the same rows without privacy",
        "evaluation.fine_tune": evaluation.fine_tune is not None and "what sites train for themselves is not sent",
        "evaluation.early_stopping": evaluation.early_stopping is not None and "test rows stay at the sites",
        "evaluation.predictions": evaluation.predictions and "test rows stay at the sites",
        "evaluation.metrics": bool(evaluation.metrics) and "sites send sums of their own, no function of yours",
    }
    for setting, reason in refused.items():
        if reason:
            raise StudyError(f"{setting} does not go with engine federation: {reason}; leave it out")
    return engine, data
