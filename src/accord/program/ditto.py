"""Ditto: federated averaging, together with a model of each client's own.

T. Li, S. Hu, A. Beirami, V. Smith. Ditto: Fair and Robust Federated Learning Through Personalization. ICML 2021, arXiv
2012.04221, Algorithm 1. In each round it takes part in, a client also steps its own v_k by
grad F_k(v_k) + lambda (v_k - w), where w is the model it was sent. v_k stays with the client.
"""

from collections.abc import Callable
from dataclasses import replace

from accord.config.programs.ditto import DittoProgram
from accord.core.checks import positive
from accord.core.errors import PrivacyError
from accord.core.streams import Streams
from accord.program.averaging import Averaging, apply_update
from accord.program.base import ClientId, Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule


def ditto(work: ClientWork, weigh: Callable[[ClientId], float], population: int, mu: float) -> Program:
    """Ditto.

    Args:
        work: what each client does, for the global and for its own model alike.
        weigh: as in `fedavg`.
        population: as in `fedavg`.
        mu: lambda, the pull of the personal model to the global one, > 0.

    Raises:
        PrivacyError: there is a privacy plan, since the personal steps would be neither noised nor charged.
    """
    positive(mu=mu)
    if work.plan is not None:
        raise PrivacyError(f"program ditto does not compose with privacy.unit {work.plan.unit}; use program fedavg")
    averaging = Averaging(work, weigh, population)
    # All of the personal model is the client's own, so nothing of it is sent.
    personal = replace(work, rule=LocalRule(proximal=mu, own=work.task.trainable + work.task.buffers))

    def round(state: ServerState, cohort: Cohort, engine: Engine, streams: Streams) -> tuple[ServerState, RoundOutcome]:
        samples = {}
        for result in engine.run_cohort(personal, cohort.clients, state.params, cohort.round):
            samples[result.client] = result.samples
        mean, extra, outcome = averaging.round(state, state.params, cohort, engine, streams)
        both = {client: count + samples[client] for client, count in outcome.samples.items()}
        return ServerState(apply_update(state.params, mean), extra), replace(outcome, samples=both)

    return Program(averaging.start, round)


def build(section: DittoProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return ditto(context.work, context.weigh(section), context.population, section.mu)
