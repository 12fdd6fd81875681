"""Makes a study ready to run where it names: in this process, or across sites."""

import importlib
import os
from pathlib import Path
from typing import Any

from accord.config.engine import FederationEngine
from accord.config.schema import Study
from accord.core.errors import FederationError, StudyError
from accord.core.params import count
from accord.core.timing import Timed, untimed
from accord.data.federated import DataSet, FederatedData
from accord.orchestration.at_sites import prepare_at_sites
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.orchestration.round_attempt import quorum
from accord.records.ledger_file import JointLedger
from accord.transport.exchange import RequesterExchange

Reach = tuple[RequesterExchange, tuple[str, str]]
"""An exchange with the requester's name and organisation."""


def make_ready(
    study: Study,
    name: str = "study",
    timed: Timed = untimed,
    *,
    federated: FederatedData | None = None,
    rows: DataSet | None = None,
    joint: JointLedger | None = None,
    folder: Path | None = None,
    reach: Reach | None = None,
    willing: bool = True,
) -> Prepared:
    """Builds everything that a run needs.

    Args:
        study: what to run.
        name: the study's name.
        timed: a stopwatch.
        federated: data already loaded and assigned for this study.
        rows: rows in memory, for a study whose `data.name` is `in_memory`.
        joint: an open joint ledger that the run is to charge.
        folder: the folder of a run across sites that is resumed. None begins one.
        reach: how to reach the sites. None opens the identity that the study's engine names.
        willing: whether to refuse where too few sites are willing.

    Raises:
        RequestError: anything wrong with the study, the data, or their combination; or too few sites take part.
        Fault: the coordinator cannot be reached.
    """
    engine = study.engine
    if not isinstance(engine, FederationEngine):
        return prepare(study, name, federated, timed, rows=rows, joint=joint)
    if joint is not None or rows is not None:
        raise StudyError("--ledger and data= are of one place; each site has a ledger and rows of its own")
    exchange, who = open_exchange(engine) if reach is None else reach
    prepared = prepare_at_sites(study, name, exchange, who, folder, timed)
    if willing:
        check_quorum(prepared)
    return prepared


def describe_sites(prepared: Prepared) -> dict[str, Any]:
    """Returns what each site would do, as one JSON object. Nothing was trained for it."""
    sites = prepared.sites
    plans = () if sites is None else sites.plans
    return {
        "study": prepared.name,
        "program": prepared.study.program.name,
        "rounds": prepared.study.program.rounds,
        "parameters": count(prepared.initial),
        "needed": quorum(prepared, prepared.study.program.cohort_size or prepared.population),
        "request": None if sites is None else sites.job.request,
        "sites": [vars(plan) for plan in plans],
    }


def check_quorum(prepared: Prepared) -> None:
    """Refuses to begin where fewer sites are willing than the study's rounds need.

    Raises:
        FederationError: names each refusal.
    """
    sites = prepared.sites
    if sites is None:
        return
    population = prepared.population
    need = quorum(prepared, prepared.study.program.cohort_size or population)
    if len(sites.willing) < need:
        reasons = "; ".join(plan.refused for plan in sites.plans if plan.refused)
        raise FederationError(f"{len(sites.willing)} of {population} sites take part, {need} needed: {reasons}")
    # Found out before anything is spent: a run whose model nobody may evaluate has no result.
    if all(sites.plans[client].evaluation == "none" for client in sites.willing):
        raise FederationError(
            "no site lets an evaluation on its test rows leave; ask an owner for leaves.evaluation in the policy"
        )


def identity_folder(engine: FederationEngine) -> Path:
    """Returns the folder with the requester's key: the study's, else $ACCORD_FEDERATION, else in the home folder.

    Raises:
        FederationError: there is none.
    """
    named = engine.identity or os.environ.get("ACCORD_FEDERATION")
    folder = Path(named).expanduser() if named else Path.home() / ".config" / "accord" / "federation"
    if not (folder / "identity.json").is_file():
        raise FederationError(
            f"{folder}: no identity to ask sites with; name its folder in engine.identity or $ACCORD_FEDERATION "
            "(accord federation init makes one)"
        )
    return folder


def open_exchange(engine: FederationEngine) -> Reach:
    """Opens the exchange of an `engine` section.

    Raises:
        FederationError: there is no identity, or the extra `federation` is not installed.
    """
    folder = identity_folder(engine)
    try:
        https = importlib.import_module("accord.transport.https_exchange")
    except ImportError as error:
        raise FederationError(
            f"engine federation needs a package that is not installed ({error.name}); pip install 'accord[federation]'"
        ) from error
    reach: Reach = https.open_requester(folder)
    return reach


def make_twin_ready(prepared: Prepared, timed: Timed = untimed) -> Prepared:
    """Builds the same study without privacy, on the same rows.

    Raises:
        RequestError: as `make_ready`.
    """
    evaluation = prepared.study.evaluation.model_copy(update={"twin": False})
    study = prepared.study.model_copy(update={"privacy": None, "evaluation": evaluation})
    return make_ready(study, f"{prepared.name} without privacy", timed, federated=prepared.federated)
