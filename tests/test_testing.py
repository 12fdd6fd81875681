"""The checks for users' own code: the examples pass them, and each way of breaking the contract is found."""

import sys
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from accord.core.errors import PrivacyError, StudyError
from accord.core.params import Params
from accord.program.averaging import Averaging, apply_update
from accord.program.base import Cohort, Engine, Program, RoundOutcome, ServerState
from accord.program.context import ProgramContext
from accord.program.local_rule import LocalRule
from accord.testing import check_program, check_training

Result = tuple[ServerState, RoundOutcome]


def test_federated_averaging_keeps_the_contract() -> None:
    check_program(averaged, {"step": 1.0})


def averaged(context: ProgramContext, step: float = 1.0, broken: str = "", units: tuple[str, ...] = ()) -> Program:
    """Federated averaging with a server step, broken in the way named."""
    averaging = Averaging(context.work, lambda client: 1.0, context.population)
    rounds = []

    def one_round(state: ServerState, cohort: Cohort, engine: Engine, streams: Any) -> Result:
        rounds.append(cohort.round)
        mean, _, outcome = averaging.round(state, state.params, cohort, engine, streams)
        params = apply_update(state.params, {name: step * value for name, value in mean.items()})
        if broken == "in place":
            next(iter(state.params.values())).add_(1.0)
        if broken == "random":
            params = {name: value + torch.rand(()) for name, value in params.items()}
        if broken == "memory":
            params = {name: value * len(rounds) for name, value in params.items()}
        if broken == "engine":
            params = {name: value + ("Vect" in type(engine._engine).__name__) for name, value in params.items()}  # type: ignore[attr-defined]
        if broken == "infinite":
            params = {name: value / 0 for name, value in params.items()}
        if broken == "outcome":
            outcome = replace(outcome, steps={})
        if broken == "number":
            engine.sum_cohort(context.work, cohort.clients, state.params, 7, [1.0] * len(cohort.clients))
        if broken == "twice":
            engine.sum_cohort(context.work, cohort.clients, state.params, cohort.round, [1.0] * len(cohort.clients))
        if broken == "stranger":
            engine.sum_cohort(context.work, [99], state.params, cohort.round, [1.0])
        if broken == "plan":
            silent = replace(context.work, plan=None)
            list(engine.run_cohort(silent, cohort.clients, state.params, cohort.round))
        if broken == "noise":
            streams("noise", cohort.round, cohort.clients[0])
        if broken == "losses":
            engine.client_losses(replace(context.work, plan=None), cohort.clients, state.params)
        if broken == "carried":
            _ = engine.carried
        return ServerState(params), outcome

    def init(params: Params) -> ServerState:
        return ServerState(params)

    return Program(init, one_round, units)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("in place", "the state that went in was changed"),
        ("random", "done again from the same state, it gives other values"),
        ("memory", "done again from the same state, it gives other values"),
        ("engine", "sequential and vectorised lie 1 apart"),
        ("infinite", "parameters are not finite"),
        ("outcome", "the outcome misses clients"),
    ],
)
def test_what_breaks_the_contract_is_found(broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_program(averaged, {"broken": broken})


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("twice", "works twice in a round"),
        ("plan", "client work has another plan than its context's work"),
        ("noise", "draws from stream 'noise', which privacy rests on"),
        ("losses", "no noise covers the losses"),
        ("carried", "reads what clients keep to themselves"),
    ],
)
def test_under_privacy_a_program_does_what_is_charged_and_no_more(broken: str, message: str) -> None:
    with pytest.raises(PrivacyError, match=message):
        check_program(averaged, {"broken": broken, "units": ("sample",)})


@dataclass(frozen=True)
class NormalisedPull(LocalRule):
    """The proximal term at unit norm, which no number of it knows by itself."""

    def correction(self, params: Params, anchor: Params, offset: Params) -> Params:
        pull = {name: value - anchor[name] for name, value in params.items()}
        return {name: self.proximal * value / (value.norm() + 1e-6) for name, value in pull.items()}


def test_engines_agree_on_a_rule_that_is_not_elementwise() -> None:
    def pulled(context: ProgramContext) -> Program:
        return averaged(replace(context, work=replace(context.work, rule=NormalisedPull(0.5))), units=("local",))

    check_program(pulled)


def test_noise_of_another_round_and_clients_of_none_are_never_used() -> None:
    with pytest.raises(StudyError, match="client 99 is not in the round's cohort"):
        check_program(averaged, {"broken": "stranger"})
    with pytest.raises(StudyError, match="client work of round 7 in round 1"):
        check_program(averaged, {"broken": "number"})


def test_training_of_ones_own_agrees_over_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    from program import test_custom_parts as parts

    monkeypatch.setitem(sys.modules, "my_parts", parts)
    check_training(
        {
            "loss": "my_parts:focal",
            "optimizer": "my_parts:lion",
            "optimizer_settings": {"units": ["sample"]},
            "learning_rate": 0.01,
            "schedule": {"name": "cosine", "warmup_rounds": 1},
        }
    )
    with pytest.raises(PrivacyError, match=r"'my_parts:lion' does not state that it composes with privacy.unit sample"):
        study(training={"optimizer": "my_parts:lion"}, privacy={"unit": "sample", "noise_multiplier": 1, "delta": 1e-3})


def test_adamw_agrees_over_engines() -> None:
    check_training({"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1})


def study(**sections: Any) -> Any:
    from accord.config.load import make_study
    from accord.orchestration.prepare import prepare

    base = {
        "data": {"name": "synthetic", "train_rows": 60, "test_rows": 20},
        "partition": {"num_partitions": 3, "name": "iid"},
    }
    return prepare(make_study(base | sections))


def test_a_program_states_what_it_composes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_program", sys.modules[__name__])
    program: dict[str, Any] = {"name": "custom", "function": "my_program:averaged"}
    privacy = {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}
    assert study(program=program).program.units == ()
    with pytest.raises(PrivacyError, match=r"'my_program:averaged' does not state that it composes with privacy.unit"):
        study(program=program, privacy=privacy)
    assert study(program=program | {"settings": {"units": ["sample"]}}, privacy=privacy).program.units == ["sample"]
    with pytest.raises(StudyError, match="nothing shows that a program of your own adds the noise"):
        study(program=program, privacy=privacy | {"unit": "client"})
    with pytest.raises(StudyError, match="fails when called with context, stride: TypeError"):
        study(program=program | {"settings": {"stride": 2}})
    with pytest.raises(StudyError, match="must return a Program, but returned a int"):
        study(program=program | {"function": "my_program:number"})


def number(context: ProgramContext) -> int:
    return 3
