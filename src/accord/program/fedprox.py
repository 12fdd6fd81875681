"""FedProx: federated averaging with a proximal term in each client's loss.

T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar, V. Smith. Federated Optimization in Heterogeneous Networks.
MLSys 2020, arXiv 1812.06127, equation 2. Each client minimises F_k(w) + mu/2 ||w - w_round||^2.
"""

from collections.abc import Callable
from dataclasses import replace

from accord.config.programs.fedprox import FedProxProgram
from accord.core.checks import positive
from accord.program.base import ClientId, Program
from accord.program.context import ProgramContext
from accord.program.fedavg import fedavg
from accord.program.local import ClientWork
from accord.program.local_rule import LocalRule


def fedprox(work: ClientWork, weigh: Callable[[ClientId], float], population: int, mu: float) -> Program:
    """FedProx.

    Args:
        work: what each client does.
        weigh: as in `fedavg`.
        population: as in `fedavg`.
        mu: weight of the proximal term, > 0.
    """
    positive(mu=mu)
    return fedavg(replace(work, rule=LocalRule(proximal=mu)), weigh, population)


def build(section: FedProxProgram, context: ProgramContext) -> Program:
    """Builds the program from its section of a study."""
    return fedprox(context.work, context.weigh(section), context.population, section.mu)
