"""Every program gives the same bits across sites as on the reference engine, and goes on without missing sites."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from accord.config.programs import PROGRAMS
from accord.config.schema import Study
from accord.core.errors import Fault, MessageError, PrivacyError, StudyError
from accord.core.params import Params
from accord.engines.federation.calls import SiteCalls
from accord.engines.federation.encoding import check_like, decode, encode
from accord.engines.federation.engine import Federation, MissingClientsError
from accord.engines.federation.works import works_of
from accord.orchestration.prepare import prepare
from accord.orchestration.prepared import Prepared
from accord.program.base import Cohort
from accord.program.registry import make_program
from accord.transport.messages import Job
from engines.federation.sites_in_process import SitesInProcess

NAMES = ("a", "b", "c", "d", "e", "f", "g")
SETTINGS: dict[str, dict[str, Any]] = {
    "fedsgd": {"training": {"batch_size": "full"}},
    "fedprox": {"program": {"mu": 0.1}},
    "fedopt": {"program": {"server_optimizer": "adam", "server_learning_rate": 0.01}},
    "fedbn": {"program": {"local_layers": ["*bias"]}},
    "qffl": {"program": {"q": 1.0}},
    "trimmed_mean": {"program": {"trim": 0.2}},
    "krum": {"program": {"malicious": 1}},
    "multi_krum": {"program": {"malicious": 1}},
    "bulyan": {"program": {"malicious": 1}},
    "cyclic": {"program": {"order": "shuffled"}},
}
COVERED = [section for section in PROGRAMS if section.model_fields["name"].annotation.__args__[0] != "custom"]  # type: ignore[union-attr]


def study_of(name: str, rounds: int = 3, program: dict[str, Any] | None = None, **sections: Any) -> Study:
    """A small study over seven sites of unlike sizes."""
    given = SETTINGS.get(name, {})
    return Study(
        data={"name": "synthetic", "train_rows": 210, "test_rows": 40, "features": 6},
        partition={"name": "linear", "num_partitions": 7},
        model={"name": "mlp", "hidden": [5]},
        training={"batch_size": 10, "learning_rate": 0.1} | given.get("training", {}),
        program={"name": name, "rounds": rounds} | given.get("program", {}) | (program or {}),
        engine={"name": "sequential"},
        **sections,
    )


def across_sites(prepared: Prepared, **faults: Any) -> tuple[Federation, SitesInProcess, Any]:
    """The same study across sites, each of which builds the program from its own copy of the study."""
    sizes = prepared.federated.train.sizes()
    # Built twice: a site shares no object with the requester.
    at_site = works_of(make_program(prepared.study, prepared.work, sizes), prepared.initial, len(sizes))
    program = make_program(prepared.study, prepared.work, sizes)
    exchange = SitesInProcess(prepared.federated, prepared.streams, at_site, NAMES, **faults)
    job = Job("ab" * 16, "{}", {}, "ada", "lab", "a test", NAMES, "2026-01-01T00:00:00Z")
    works = works_of(program, prepared.initial, len(sizes))
    return Federation(SiteCalls(exchange, job, 5.0), works), exchange, program


def trained(prepared: Prepared, engine: Any, program: Any, rounds: int = 3) -> Params:
    state = program.init(prepared.initial)
    for number in range(1, rounds + 1):
        if isinstance(engine, Federation):
            engine.start_round(number)
        state, _ = program.round(state, Cohort(number, tuple(range(7))), engine, prepared.streams)
    return dict(state.params)


@pytest.mark.parametrize("section", COVERED, ids=lambda section: section.__name__)
def test_every_program_gives_the_same_bits_across_sites(section: Any) -> None:
    name = section.model_fields["name"].annotation.__args__[0]
    prepared = prepare(study_of(name))
    engine, _, program = across_sites(prepared)
    reference = trained(prepared, prepared.engine, prepared.program)
    found = trained(prepared, engine, program)
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in reference.items()
    }
    assert any(bool((reference[key] != value).any()) for key, value in prepared.initial.items())
    assert engine.carried == {}, "what clients keep stays at the sites"


def test_a_refusal_names_the_site_and_its_reason() -> None:
    prepared = prepare(study_of("fedavg"))
    engine, _, program = across_sites(prepared, refuses={"c": 2}, silent={"e": 2})
    state = program.init(prepared.initial)
    engine.start_round(1)
    state, _ = program.round(state, Cohort(1, tuple(range(7))), engine, prepared.streams)
    engine.start_round(2)
    with pytest.raises(MissingClientsError) as caught:
        program.round(state, Cohort(2, tuple(range(7))), engine, prepared.streams)
    assert caught.value.reasons == {
        2: "c refuses (budget): the budget of this data set is spent",
        4: "e did not answer within 5 s",
    }
    assert caught.value.late == {4}


def test_a_round_run_again_without_missing_sites_asks_nobody_twice() -> None:
    prepared = prepare(study_of("scaffold"))
    engine, exchange, program = across_sites(prepared, refuses={"c": 1})
    state = program.init(prepared.initial)
    for clients in (tuple(range(7)), (0, 1, 3, 4, 5, 6)):
        engine.start_round(1)
        try:
            after, outcome = program.round(state, Cohort(1, clients), engine, prepared.streams)
        except MissingClientsError:
            continue
    assert sorted(exchange.worked) == [(name, 1, 0) for name in NAMES]
    assert set(outcome.steps) == {0, 1, 3, 4, 5, 6}
    alone, _ = program.round(state, Cohort(1, (0, 1, 3, 4, 5, 6)), prepared.engine, prepared.streams)
    assert all(torch.equal(after.params[name], alone.params[name]) for name in after.params)


def test_noise_at_the_server_is_refused() -> None:
    privacy = {"unit": "client", "noise_multiplier": 1.0, "delta": 0.01}
    prepared = prepare(study_of("fedavg", program={"weights": "uniform"}, privacy=privacy))
    with pytest.raises(PrivacyError, match="use unit local"):
        works_of(prepared.program, prepared.initial, 7)


def test_work_that_the_first_round_did_not_ask_for_is_refused() -> None:
    prepared = prepare(study_of("fedavg"))
    engine, _, _ = across_sites(prepared)
    engine.start_round(1)
    with pytest.raises(StudyError, match="first round did not ask"):
        engine.run_cohort(replace(prepared.work, local_epochs=7), [0], prepared.initial, 1)


def test_a_round_that_was_not_begun_is_refused() -> None:
    prepared = prepare(study_of("fedavg"))
    engine, _, _ = across_sites(prepared)
    engine.start_round(1)
    with pytest.raises(Fault, match="round 2 was asked"):
        engine.run_cohort(prepared.work, [0], prepared.initial, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda update: {},
        lambda update: update | {"more": torch.zeros(1)},
        lambda update: {name: value[:1] for name, value in update.items()},
        lambda update: {name: value.double() for name, value in update.items()},
        lambda update: {name: value * float("nan") for name, value in update.items()},
    ],
)
def test_what_is_no_update_is_a_missing_site(change: Any) -> None:
    prepared = prepare(study_of("fedavg"))
    engine, exchange, program = across_sites(prepared)
    fetch = exchange.fetch

    def broken(digest: str) -> bytes:
        own = fetch(digest)
        return encode(change(decode(own))) if digest == exchange.done[("b", 1, 0)].message.result else own  # type: ignore[union-attr]

    exchange.fetch = broken  # type: ignore[method-assign]
    engine.start_round(1)
    with pytest.raises(MissingClientsError, match="its update: tensor"):
        program.round(program.init(prepared.initial), Cohort(1, tuple(range(7))), engine, prepared.streams)


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\xff" * 8 + b"{}", b"{}" * 100])
def test_bytes_that_are_not_safetensors_are_refused(content: bytes) -> None:
    with pytest.raises(MessageError, match="not safetensors"):
        decode(content)


def test_infinity_is_refused() -> None:
    with pytest.raises(MessageError, match="not finite"):
        check_like({"w": torch.tensor([float("inf")])}, {"w": torch.zeros(1)}, "what came")
