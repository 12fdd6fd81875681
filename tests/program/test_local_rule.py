"""Local rules: what each says of itself, and that an engine needs to know no more."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from accord.core import params as p
from accord.core.params import Params
from accord.core.streams import bind
from accord.data.federated import FederatedData
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised
from accord.program.base import Engine
from accord.program.local import ClientWork
from accord.program.local_rule import PLAIN, LocalRule, RoundEnd, RuleResult, is_elementwise
from accord.program.optimizers import adam, sgd
from accord.program.scaffold import ControlVariates
from accord.tasks.task import Task

SIZES = [12, 30, 7]


@dataclass(frozen=True)
class Counted(LocalRule):
    """Every gradient is pulled by half of a value that each client raises by its steps in every round."""

    prefix = "count/"

    def offset(self, server: Params, client: Params) -> Params:
        return p.multiply(client, 0.5)

    def finish(self, end: RoundEnd) -> RuleResult:
        return RuleResult({name: 2 * value + end.steps for name, value in end.offset.items()}, {})


@dataclass(frozen=True)
class Sparse(LocalRule):
    """Adds the sign of how far the parameters are from the round's: neither an offset nor a proximal term."""

    @property
    def anchored(self) -> bool:
        return True

    def correction(self, params: Params, anchor: Params, offset: Params) -> Params:
        return {name: 0.01 * torch.sign(value - anchor[name]) for name, value in params.items()}


def test_rules_say_what_they_do() -> None:
    assert (PLAIN.corrects, PLAIN.carries, PLAIN.sent(("w",))) == (False, False, ())
    assert (LocalRule(0.1).corrects, LocalRule(0.1).carries) == (True, False)
    assert (LocalRule(own=("w",)).corrects, LocalRule(own=("w",)).carries) == (False, True)
    assert (ControlVariates().corrects, ControlVariates().sent(("w",))) == (True, ("control/w",))
    assert (Counted().corrects, Counted().carries, Counted().sent(("w",)), Counted().anchored) == (
        True,
        True,
        (),
        False,
    )
    assert (Sparse().corrects, Sparse().carries) == (True, False)


@dataclass(frozen=True, kw_only=True)
class Given(LocalRule):
    """Its correction is a field, which lies over the method of its class."""

    correction: Callable[[Params, Params, Params], Params]  # type: ignore[assignment]


def test_only_the_built_in_correction_is_taken_for_elementwise() -> None:
    assert all(map(is_elementwise, (PLAIN, LocalRule(0.1), ControlVariates(), Counted(proximal=0.3))))
    assert not is_elementwise(Sparse())
    assert not is_elementwise(Given(correction=lambda params, anchor, offset: params))


def test_built_in_rules_are_stacked_in_kernels(
    federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    engine = Vectorised(federation(SIZES), bind(3))
    for rule, stacked in ((PLAIN, True), (LocalRule(0.3), True), (ControlVariates(), True), (Sparse(), False)):
        work = ClientWork(task(), sgd(0.1), 8, 1, None, None, torch.float64, rule)
        assert (engine._forms.form(work, work.task.init(torch.float64), 3) is not None) is stacked


@pytest.mark.parametrize("rule", [Counted(), Sparse(), Counted(proximal=0.3)])
@pytest.mark.parametrize("optimizer", [sgd(0.1), sgd(0.1, 0.9), adam(0.01)])
def test_an_engine_runs_a_rule_that_it_has_never_seen(
    rule: LocalRule, optimizer: object, federation: Callable[..., FederatedData], task: Callable[..., Task]
) -> None:
    data = federation(SIZES)
    work = ClientWork(task(), optimizer, 8, 1, None, None, torch.float64, rule)  # type: ignore[arg-type]
    ends = []
    for make in (Sequential, Vectorised):
        engine: Engine = make(data, bind(3))
        params = work.task.init(torch.float64)
        for number in (1, 2, 3):
            mean = engine.sum_cohort(work, [0, 1, 2], params, number, [1 / 3] * 3).total
            params = p.add(params, mean)
        ends.append((params, engine.carried))
    (one, kept), (other, also) = ends
    assert all(torch.allclose(value, other[name], rtol=1e-9, atol=1e-12) for name, value in one.items())
    assert kept.keys() == also.keys() == ({0, 1, 2} if rule.carries else set())
    plain = Sequential(data, bind(3)).sum_cohort(
        ClientWork(task(), sgd(0.1), 8, 1, None, None, torch.float64), [0], one, 1, [1.0]
    )
    assert set(plain.total) == set(one)
    for client, values in kept.items():
        for name, value in values.items():
            assert torch.allclose(value, also[client][name])
            assert bool((value == 3 * -(-SIZES[client] // 8)).all())
