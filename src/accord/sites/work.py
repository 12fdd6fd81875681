"""A site's work for a run: prepared from the study that was approved, its own rows and its own privacy plan.

Everything here is a function of its arguments, and touches no file, ledger or network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accord.config.engine import VectorisedEngine
from accord.config.schema import Study
from accord.core.errors import AccordError, MessageError
from accord.core.params import Params
from accord.data.federated import FederatedData
from accord.engines.federation.encoding import check_like
from accord.engines.registry import make_engine, reproducible_arithmetic
from accord.program.base import Engine
from accord.program.local import ClientWork
from accord.sites import own_program
from accord.sites.own_program import OwnProgram
from accord.sites.plan import site_plan, site_streams
from accord.sites.refused import RefusedError


@dataclass(frozen=True)
class SiteWork:
    """What a site needs to do a run's tasks.

    Attributes:
        study: the resolved study.
        client: the site's number among the study's sites.
        federated: the site's rows, all of this client.
        own: the site's own copy of the program, with its own mechanism.
        engine: where the work runs.
    """

    study: Study
    client: int
    federated: FederatedData
    own: OwnProgram
    engine: Engine

    @property
    def rows(self) -> int:
        """The site's training rows."""
        return self.federated.train.size(self.client)

    @property
    def steps(self) -> int:
        """The most local steps that a task of this run takes, which it is charged."""
        return max(work.steps(self.rows) for work in self.own.works.works)


@dataclass(frozen=True)
class Trained:
    """What a `train` task gives.

    Attributes:
        update: what the site sends.
        carried: what it keeps until its next round.
        values: what it states: local steps, samples, and without privacy whether the update was within the clip norm.
    """

    update: Params
    carried: Params
    values: Mapping[str, Any]


def prepare(study: Study, federated: FederatedData, client: int) -> SiteWork:
    """Builds a run's work at a site. Everything that can be refused is refused here, before a row is used.

    Args:
        study: the resolved study, whose `data` is `sites`.
        federated: the site's rows as client `client`.
        client: the site's number.

    Raises:
        RefusedError: the study does not run at this site.
    """
    population = len(federated.train)
    n = federated.train.size(client)
    plan = site_plan(study, n, population)
    streams = site_streams(study)
    own = own_program.build(study, plan, streams, n, population)
    engine = make_engine(
        VectorisedEngine(name="vectorised", threads=1, compile=False), federated, streams, torch.device("cpu")
    )
    return SiteWork(study, client, federated, own, engine)


def train(
    site: SiteWork, number: int, shared: Params, round_number: int, carried: Mapping[str, Tensor] | None = None
) -> Trained:
    """Does a round's client work.

    Args:
        site: the prepared work.
        number: which of the program's works.
        shared: the round's parameters.
        round_number: the round, counted from 1.
        carried: what the site kept of its last round, or None where it has taken part in none.

    Raises:
        RefusedError: there is no such work, the parameters are not the model's, or the work failed.
    """
    work, shared = _work(site, number, shared)
    client = site.client
    site.engine.carried.clear()
    if carried:
        site.engine.carried[client] = dict(carried)
    try:
        with reproducible_arithmetic():
            (result,) = site.engine.run_cohort(work, [client], shared, round_number)
    except AccordError as error:
        raise RefusedError("fault", "the work failed at this site, whose own log has the cause") from error
    private = site.own.plan is not None
    samples = work.expected_samples(site.rows) if private else result.samples
    # The size of a Poisson batch, and whether an update was clipped, are facts of the rows that no noise covers.
    values = {"steps": result.steps, "samples": samples, "unclipped": None if private else result.unclipped}
    return Trained(dict(result.update), site.engine.carried.get(client, {}), values)


def losses(site: SiteWork, number: int, shared: Params) -> dict[str, Any]:
    """Computes the mean loss of the round's parameters over the site's training rows.

    Raises:
        RefusedError: the study has a privacy plan, which does not cover it, or as `train`.
    """
    work, shared = _work(site, number, shared)
    if site.own.plan is not None:
        raise RefusedError("unit", f"privacy.unit {site.own.plan.unit} does not cover losses on training rows")
    try:
        with reproducible_arithmetic():
            (loss,) = site.engine.client_losses(work, [site.client], shared)
    except AccordError as error:
        raise RefusedError("fault", "the work failed at this site, whose own log has the cause") from error
    if not np.isfinite(loss):
        raise RefusedError("fault", "the loss is not finite")
    return {"loss": float(loss)}


def check_params(site: SiteWork, params: Params) -> None:
    """Refuses parameters that are not those of the study's model.

    Raises:
        RefusedError: names the first difference.
    """
    _check(params, site.own.initial)


def check_work(site: SiteWork, number: int, shared: Params) -> None:
    """Refuses a kind of work that the program has not, and parameters that are not those of it.

    Raises:
        RefusedError: names what is wrong.
    """
    _work(site, number, shared)


def _work(site: SiteWork, number: int, shared: Params) -> tuple[ClientWork, Params]:
    """Returns the work of that number, and the parameters in the model's own order."""
    if number >= len(site.own.works.works):
        raise RefusedError(
            "program", f"the program asks for {len(site.own.works.works)} kinds of work, not for {number}"
        )
    like = site.own.works.shared[number]
    _check(shared, like)
    # Names travel sorted. Norms and noise are computed in the model's order, as in a simulation.
    return site.own.works.works[number], {name: shared[name] for name in like}


def _check(params: Params, like: Params) -> None:
    try:
        check_like(params, like, "the round's parameters")
    except MessageError as error:
        raise RefusedError("model", str(error)) from error
