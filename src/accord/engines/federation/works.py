"""The kinds of client work that a program asks for, numbered alike at the requester and at every site.

Most programs ask for one: train as the study says. Some add a correction (FedProx, SCAFFOLD) or ask for two in a round
(Ditto). A task between organisations names a work by its number. So no rule of training travels, and a site trains by
what its own copy of the program says of the approved study, never by what a message says.

The works are found by running the program's first round on an engine that trains nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from accord.core import params as p
from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.core.streams import bind
from accord.program.base import ClientId, ClientResult, Cohort, CohortSum, Program
from accord.program.local import ClientWork


@dataclass
class _Probe:
    """An engine whose clients all return zeros, and which remembers what it was asked."""

    asked: list[ClientWork] = field(default_factory=list)
    shared: list[Params] = field(default_factory=list)
    carried: dict[ClientId, Params] = field(default_factory=dict)

    def _note(self, work: ClientWork, shared: Params) -> Params:
        if not any(same_work(work, known) for known in self.asked):
            self.asked.append(work)
            self.shared.append(dict(shared))
        return {name: torch.zeros_like(shared[name]) for name in work.sent}

    def run_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int
    ) -> Iterator[ClientResult]:
        zeros = self._note(work, shared)
        return iter([ClientResult(client, zeros, 1, 1) for client in cohort])

    def sum_cohort(
        self, work: ClientWork, cohort: Sequence[ClientId], shared: Params, round_number: int, weights: Sequence[float]
    ) -> CohortSum:
        once: Mapping[ClientId, int] = dict.fromkeys(cohort, 1)
        return CohortSum(p.zeros_like(self._note(work, shared)), once, once)

    def client_losses(self, work: ClientWork, cohort: Sequence[ClientId], shared: Params) -> list[float]:
        self._note(work, shared)
        return [1.0] * len(cohort)  # not 0, which q-FFL divides by


@dataclass(frozen=True)
class Works:
    """What a program asks of clients.

    Attributes:
        works: the kinds of client work, in the order in which the first round asks for them.
        shared: what each is sent in the first round, by name. Later rounds send the same names and shapes.
    """

    works: tuple[ClientWork, ...]
    shared: tuple[Params, ...]

    def number(self, work: ClientWork) -> int:
        """Returns a work's number.

        Raises:
            StudyError: the first round did not ask for it.
        """
        for number, known in enumerate(self.works):
            if same_work(work, known):
                return number
        raise StudyError(
            "the program asks for client work that its first round did not ask for; between organisations every round "
            "must ask for the same, so give its rules the same settings in every round"
        )


def works_of(program: Program, initial: Params, population: int) -> Works:
    """Finds the kinds of client work that a program asks for.

    Args:
        program: built from the study at hand.
        initial: the model's first parameters.
        population: the number of clients.

    Raises:
        PrivacyError: the study adds noise at the server, which no site could see to.
    """
    probe = _Probe()
    program.round(program.init(initial), Cohort(1, tuple(range(population))), probe, bind(0))
    for work in probe.asked:
        if work.plan is not None and work.plan.mechanism.noises_sum:
            raise PrivacyError(
                "privacy.unit client adds noise at the server, which no site could see to; use unit local, whose noise "
                "each site adds itself, or unit sample"
            )
    return Works(tuple(probe.asked), tuple(probe.shared))


def same_work(one: ClientWork, other: ClientWork) -> bool:
    """Whether two works train in the same way: the same rule, and the same objects for everything else."""
    return (
        one.rule == other.rule
        and one.task is other.task
        and one.optimizer is other.optimizer
        and one.optimizer_at is other.optimizer_at
        and (one.batch_size, one.local_epochs, one.local_steps, one.plan, one.dtype)
        == (other.batch_size, other.local_epochs, other.local_steps, other.plan, other.dtype)
    )
