"""The agent: what it refuses before anything is trained, and what a kill at any place leaves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import Fault, StorageError
from accord.engines.federation.encoding import decode, encode
from accord.sites.agent import Agent
from accord.sites.bindings import read_binding, site_rows
from accord.sites.contracts import Charge, Terms
from accord.sites.refused import RefusedError
from accord.sites.statistics import release_plan
from accord.sites.work import SiteWork, prepare, train
from accord.transport.messages import Answer, Job, Task
from sites.hospitals import PRIVATE, SITES, Hospitals, received, study_of
from sites.in_memory import RUN, Coordinator, Key, PlainJudge, PlainRecords, job_of, task_of

ADA = Key("ada")
EVE = Key("eve")
NORTH = Key("north")


@dataclass
class House:
    """A site's agent with everything about it."""

    agent: Agent
    coordinator: Coordinator
    judge: PlainJudge
    records: PlainRecords
    log: list[str]

    def ask(self, job: Job, task: Task, inputs: bytes = b"") -> Any:
        """Offers a task, has it handled, and returns the message that came of it."""
        self.coordinator.offer(job, task, inputs)
        lease = self.coordinator.lease(0)
        assert lease is not None
        before = len(self.coordinator.answers), len(self.coordinator.refusals)
        self.agent.handle(lease)
        after = len(self.coordinator.answers), len(self.coordinator.refusals)
        assert sum(after) == sum(before) + 1
        return (self.coordinator.answers if after[0] > before[0] else self.coordinator.refusals)[-1].message

    def refused(self, job: Job, task: Task, inputs: bytes = b"") -> str:
        """The code of a refusal, after which nothing was begun or charged and the journal has a line."""
        lines = len(self.records.lines)
        said = self.ask(job, task, inputs)
        assert not isinstance(said, Answer)
        assert len(self.records.lines) == lines + 1
        assert self.records.lines[-1]["code"] == said.code
        assert "\n" not in said.reason
        assert "/" not in said.reason
        assert self.records.charges == []
        return str(said.code)


@pytest.fixture
def house(hospitals: Hospitals) -> Iterator[House]:
    coordinator, judge, records = Coordinator(ADA), PlainJudge({"ada": ADA.public}), PlainRecords()
    log: list[str] = []
    binding = read_binding(hospitals.bindings["north"])
    agent = Agent("north", coordinator, judge, records, lambda: {"stays": binding}, NORTH.sign, log.append)
    yield House(agent, coordinator, judge, records, log)
    agent.close()


@pytest.fixture
def study(hospitals: Hospitals) -> Study:
    return study_of(hospitals)


Change = Callable[[House, Study], tuple[Job, Task]]


def plain(study: Study, **changed: Any) -> tuple[Job, Task]:
    job = job_of(study, **changed)
    return job, task_of(job, "plan")


def of_text(study: Study, text: str) -> tuple[Job, Task]:
    job = replace(job_of(study), study=text)
    return job, task_of(job, "plan")


def with_task(study: Study, **changed: Any) -> tuple[Job, Task]:
    job = job_of(study)
    return job, replace(task_of(job, "plan"), **changed)


HOSTILE: dict[str, tuple[str, Change]] = {
    "another version": ("version", lambda house, study: plain(study, protocol=2)),
    "a requester nobody knows": ("signature", lambda house, study: plain(study, requester="mallory")),
    "another site's task": ("signature", lambda house, study: with_task(study, site="east")),
    "a job without this site": ("signature", lambda house, study: plain(study, sites=("east", "west"))),
    "a task of another job": ("signature", lambda house, study: with_task(study, job="0" * 64)),
    "a task of another run": ("signature", lambda house, study: with_task(study, run="f" * 32)),
    "sites in another order": ("program", lambda house, study: plain(study, sites=("west", "north"))),
    "a job from the future": ("clock", lambda house, study: plain(study, created="2099-01-01T00:00:00Z")),
    "a job of no time": ("clock", lambda house, study: plain(study, created="yesterday")),
    "a study that is no JSON": ("program", lambda house, study: of_text(study, "{")),
    "a study that is not canonical": ("program", lambda house, study: of_text(study, job_of(study).study + " ")),
    "a study with a key nobody knows": (
        "program",
        lambda house, study: of_text(study, job_of(study).study[:-1] + ',"backdoor":1}'),
    ),
    "code that the study does not name": ("code", lambda house, study: plain(study, code={"os:system": "0" * 64})),
    "training before its first round": (
        "replay",
        lambda house, study: (job_of(study), task_of(job_of(study), "train", 0)),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_with_a_code_and_a_line_and_no_process_is_started(name: str, house: House, study: Study) -> None:
    code, change = HOSTILE[name]
    assert house.refused(*change(house, study)) == code
    assert house.agent._runs == {}


def test_a_message_signed_by_another_is_refused(house: House, study: Study) -> None:
    house.coordinator.requester = replace(EVE, name="ada")
    assert house.refused(*plain(study)) == "signature"
    house.coordinator.requester = EVE
    assert house.refused(*plain(study)) == "signature"


def test_a_requester_who_is_not_in_the_policy_is_refused(house: House, study: Study) -> None:
    house.coordinator.requester = EVE
    assert house.refused(*plain(study, requester="eve")) == "unknown_requester"


def test_a_changed_message_has_no_signature(house: House, study: Study) -> None:
    job, task = plain(study)
    house.coordinator.offer(job, task)
    signed, job_signed = house.coordinator.tasks.pop()
    changed = replace(job_signed, message=replace(job, purpose="another"))
    house.coordinator.tasks.append((signed, changed))
    lease = house.coordinator.lease(0)
    assert lease is not None
    house.agent.handle(lease)
    assert house.coordinator.refusals[-1].message.code == "signature"


def test_the_policy_is_asked_for_every_message(house: House, study: Study) -> None:
    house.judge.refuses = "approval"
    for _ in range(2):
        assert house.refused(*plain(study)) == "approval"
    assert house.judge.asked == ["plan", "plan"]


def test_a_data_set_that_is_not_here_is_refused(house: House, hospitals: Hospitals) -> None:
    section = study_of(hospitals).data.model_dump() | {"data_set": "bills"}
    assert house.refused(*plain(study_of(hospitals, data=section))) == "data_set"


def test_a_schema_that_says_otherwise_is_refused_before_a_row_is_read(house: House, hospitals: Hospitals) -> None:
    section = study_of(hospitals).data.model_dump()
    section["schema"]["ranges"]["age"] = [30, 40]
    assert house.refused(*plain(study_of(hospitals, data=section))) == "schema"
    assert all(not run.worker.running for run in house.agent._runs.values())


def test_a_wrong_message_does_not_take_the_place_of_the_requesters(house: House, study: Study) -> None:
    job, task = plain(study)
    house.coordinator.requester = replace(EVE, name="ada")
    house.refused(job, task)
    assert house.records.known(RUN, 0, 0) is None


# --- with the process that does the work ----------------------------------------------------------------


def reference(hospitals: Hospitals, study: Study) -> SiteWork:
    rows = site_rows(read_binding(hospitals.bindings["north"]), received(study).data, "north", SITES)  # type: ignore[arg-type]
    return prepare(received(study), rows, 1)


@pytest.mark.slow
def test_it_states_what_it_would_do_and_does_it(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    house.judge.terms = Terms(rows_rounded_to=10)
    job = job_of(study)
    stated = house.ask(job, task_of(job, "plan"))
    assert stated.values["rows"] == 50
    assert stated.values["noise_multiplier"] == 1.0
    assert stated.values["epsilon_before"] == 0
    assert house.records.charges == []
    facts = house.judge.weighed[-1]
    assert (facts.rows, facts.steps, facts.rounds) == (52, 4, 3)
    shared = encode(reference(hospitals, study).own.initial)
    for number in (1, 2, 3):
        answer = house.ask(job, task_of(job, "train", number, inputs=shared), shared)
        assert answer.values == {"steps": 4, "samples": 64, "unclipped": None}
    assert answer.epsilon == pytest.approx(stated.values["epsilon_after"])
    assert [(number, charge.steps) for _, number, _, charge in house.records.charges] == [(1, 4), (2, 4), (3, 4)]
    judged = house.ask(job, task_of(job, "evaluate", 3, 900, inputs=shared), shared)
    assert judged.values == {"n": 8}
    assert len(house.records.charges) == 3
    house.ask(job, task_of(job, "end", 3, 902))
    assert house.agent._runs == {}
    assert house.ask(job, task_of(job, "train", 4, inputs=shared), shared).code == "ended"


@pytest.mark.slow
def test_asked_again_it_sends_the_same_bytes_and_charges_nothing(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    task = task_of(job, "train", 1, inputs=shared)
    for _ in range(3):
        house.ask(job, task, shared)
    assert len(set(house.coordinator.results)) == 1
    assert len({each.signature for each in house.coordinator.answers}) == 1
    assert len(house.records.charges) == 1


@pytest.mark.slow
def test_other_inputs_under_an_answered_round_or_before_it_are_refused(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    job, initial = job_of(study), reference(hospitals, study).own.initial
    shared, other = encode(initial), encode({name: value + 1 for name, value in initial.items()})
    house.ask(job, task_of(job, "train", 2, inputs=shared), shared)
    assert house.ask(job, task_of(job, "train", 2, inputs=other), other).code == "replay"
    assert house.ask(job, task_of(job, "train", 1, inputs=other), other).code == "replay"
    assert len(house.records.charges) == 1


@pytest.mark.slow
def test_a_budget_stops_a_round_before_it_is_trained(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    house.records.budget = house.ask(job, task_of(job, "train", 1, inputs=shared), shared).epsilon * 1.001
    refused = house.ask(job, task_of(job, "train", 2, inputs=shared), shared)
    assert refused.code == "budget"
    assert len(house.records.charges) == 1


@pytest.mark.slow
def test_hostile_parameters_are_refused(house: House, hospitals: Hospitals, study: Study) -> None:
    job, initial = job_of(study), reference(hospitals, study).own.initial
    bomb = (10**15).to_bytes(8, "little") + b"{}"
    for number, (inputs, code) in enumerate(
        [
            (b"\x80\x04\x95pickled", "model"),
            (bomb, "model"),
            (encode({name: value * float("inf") for name, value in initial.items()}), "model"),
            (encode({**initial, "lookup": torch.zeros(9)}), "model"),
        ],
        start=1,
    ):
        assert house.ask(job, task_of(job, "train", number, inputs=inputs), inputs).code == code
    assert house.ask(job, task_of(job, "train", 9, inputs=b"x", work=3), b"x").code in ("model", "program")


@pytest.mark.slow
def test_sums_of_test_rows_stay_where_the_policy_says_so(house: House, hospitals: Hospitals, study: Study) -> None:
    house.judge.terms = Terms(evaluation_noise=None)
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    assert house.ask(job, task_of(job, "evaluate", 1, 900, inputs=shared), shared).code == "policy"


@pytest.mark.slow
def test_noised_evaluations_are_charged_and_sent_once(house: House, hospitals: Hospitals, study: Study) -> None:
    house.judge.terms = Terms(evaluation_noise=8.0)
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    for _ in range(2):
        said = house.ask(job, task_of(job, "evaluate", 1, 900, inputs=shared), shared)
        assert set(said.values) == {"noise_std"}
    assert said.epsilon > 0
    assert [(charge.plan.noise_multiplier, charge.steps) for *_, charge in house.records.charges] == [(8.0, 1)]
    assert len(set(house.coordinator.results)) == 1
    assert set(decode(house.coordinator.results[0])) == {"confusion", "0/confusion", "1/confusion"}
    house.ask(job, task_of(job, "evaluate", 2, 900, inputs=shared), shared)
    assert len(house.records.charges) == 2


@pytest.mark.slow
def test_statistics_are_noised_charged_and_sent_once(house: House, study: Study) -> None:
    job = job_of(study)
    assert house.ask(job, task_of(job, "describe", 0, 5)).code == "policy"
    house.judge.terms = Terms(statistics_noise=2.0, least_group=3)
    for _ in range(2):
        said = house.ask(job, task_of(job, "describe", 0, 6))
        assert said.values == {"noise_multiplier": 2.0, "arrays": 6}
    assert said.epsilon > 0
    assert [(charge.rows, charge.steps) for *_, charge in house.records.charges] == [(52, 1)]
    assert len(set(house.coordinator.results)) == 1
    assert set(decode(house.coordinator.results[0])) >= {"n", "labels", "column/age"}


@pytest.mark.slow
def test_statistics_begun_under_more_noise_are_not_drawn_with_less(house: House, study: Study) -> None:
    job = job_of(study)
    task = task_of(job, "describe", 0, 6)
    # As a kill leaves it, after which the owner allowed statistics with less noise.
    house.records.begin(task, job, Charge("stays", release_plan(8.0, 1e-6), 52, 1))
    house.judge.terms = Terms(statistics_noise=2.0)
    assert house.ask(job, task).code == "replay"
    house.judge.terms = Terms(statistics_noise=8.0)
    assert house.ask(job, task).values == {"noise_multiplier": 8.0, "arrays": 6}
    assert len(house.records.charges) == 1


@pytest.mark.slow
def test_losses_under_privacy_are_refused_before_they_are_begun(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    assert house.refused(job, task_of(job, "losses", 1, inputs=shared), shared) == "unit"
    assert house.records.tasks == {}


def test_a_reason_is_one_line_that_can_be_signed_and_shown() -> None:
    assert RefusedError("fault", "a\ud800b\x1b[2Jc\u202ed\ne").reason == "a b [2Jc d e"


@pytest.mark.slow
def test_a_task_that_is_withdrawn_is_not_finished(house: House, hospitals: Hospitals) -> None:
    study = study_of(hospitals, training={"batch_size": 1, "local_epochs": 20_000})
    job, shared = job_of(study), encode(reference(hospitals, study).own.initial)
    house.coordinator.wanted = False
    said = house.ask(job, task_of(job, "train", 1, inputs=shared), shared)
    assert (said.code, said.reason) == ("fault", "the work is no longer asked for")
    assert house.coordinator.renewed >= 1


# --- kills ------------------------------------------------------------------------------------------------


class KilledError(BaseException):
    """Ends the agent as a kill does: nothing of it runs on."""


STAGES = [
    ("exchange", "fetch", "before"),
    ("records", "begin", "before"),
    ("records", "begin", "after"),
    ("records", "carried", "after"),
    ("worker", "train", "kill"),
    ("records", "finish", "before"),
    ("records", "finish", "after"),
    ("exchange", "answer", "before"),
    ("exchange", "answer", "after"),
    ("records", "acknowledge", "before"),
]


class Dying:
    """Passes calls on, and dies at the `at`-th call of one of them, before or after it is done."""

    def __init__(self, inner: Any, method: str, when: str, at: int) -> None:
        self._inner, self._method, self._when, self._left = inner, method, when, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and self._when == "before":
                raise KilledError
            done = found(*args, **kwargs)
            if self._left == 0:
                raise KilledError
            return done

        return call


@pytest.mark.slow
@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize(("where", "method", "when"), STAGES)
def test_a_kill_at_any_place_loses_no_round_and_charges_none_twice(
    where: str, method: str, when: str, private: bool, hospitals: Hospitals
) -> None:
    """Two rounds of SCAFFOLD, whose client carries something. The agent is killed in the second and started anew."""
    program = {"name": "fedavg" if private else "scaffold", "rounds": 2}
    privacy = {**PRIVATE, "delta": 1e-3} if private else None
    study = study_of(hospitals, program=program, privacy=privacy)
    own = reference(hospitals, study)
    job, shared = job_of(study), encode(own.own.works.shared[0])
    coordinator, judge, records = Coordinator(ADA), PlainJudge({"ada": ADA.public}), PlainRecords()
    binding = read_binding(hospitals.bindings["north"])
    for number in (1, 2):
        coordinator.offer(job, task_of(job, "train", number, inputs=shared), shared)

    def started(dying: bool) -> Agent:
        exchange: Any = Dying(coordinator, method, when, 2) if dying and where == "exchange" else coordinator
        kept: Any = Dying(records, method, when, 2) if dying and where == "records" else records
        return Agent("north", exchange, judge, kept, lambda: {"stays": binding}, NORTH.sign)

    agent = started(dying=True)
    died = False
    try:
        while coordinator.tasks:
            if where == "worker" and len(coordinator.answers) == 1 and not died:
                # Of the process alone. The agent does the work again with a new one.
                next(iter(agent._runs.values())).worker._process.kill()  # type: ignore[union-attr]
                died = True
            lease = coordinator.lease(0)
            assert lease is not None
            try:
                agent.handle(lease)
            except KilledError:
                died = True
                agent.close()
                agent = started(dying=False)
    finally:
        agent.close()
    assert died
    assert coordinator.refusals == []
    # Killed after the coordinator had the answer, it is not asked again.
    assert {each.message.round for each in coordinator.answers} == {1, 2}
    assert len(coordinator.answers) == 2
    if private:
        assert [(number, call) for _, number, call, _ in records.charges] == [(1, 0), (2, 0)]
        return
    carried: dict[str, torch.Tensor] = {}
    for number, result in zip((1, 2), coordinator.results, strict=True):
        expected = train(own, 0, own.own.works.shared[0], number, carried)
        carried = expected.carried
        for name, value in decode(result).items():
            assert torch.equal(value, expected.update[name]), (number, name)


def test_a_coordinator_that_is_away_is_asked_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(house.coordinator, "lease", lambda wait_s: (_ for _ in ()).throw(Fault("no route")))
    house.agent.run(lambda: len(pauses) == 7)
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert "no route" in house.log[0]


def test_an_agent_whose_disk_is_full_asks_for_no_work_before_it_can_write(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    asked: list[int] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    def lease(wait_s: float) -> None:
        asked.append(len(pauses))
        if len(asked) == 1:
            raise StorageError("records.db: the records cannot be written (disk is full)")

    def note(kind: str, body: dict[str, Any]) -> None:
        if len(pauses) < 4:
            raise StorageError("records.db: the records cannot be written (disk is full)")

    monkeypatch.setattr(house.coordinator, "lease", lease)
    monkeypatch.setattr(house.records, "note", note)
    house.agent.run(lambda: len(asked) == 3)
    assert pauses == [1, 2, 4, 8]
    assert asked == [0, 4, 4]
    assert "disk is full" in house.log[0]
    assert "no work is asked for before that" in house.log[0]


def test_whatever_a_coordinator_sends_the_agent_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(house.coordinator, "lease", lambda wait_s: (_ for _ in ()).throw(KeyError("task")))
    house.agent.run(lambda: len(pauses) == 2)
    assert "KeyError" in house.log[0]


def test_the_end_of_a_run_by_another_leaves_its_work_alone(
    house: House, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    def refuse(*given: Any) -> Any:
        raise RefusedError("replay", "the run was begun here under another job")

    monkeypatch.setattr(house.agent, "_end", ended.append)
    finish = house.records.finish
    monkeypatch.setattr(
        house.records,
        "finish",
        lambda task, entry, *rest: refuse() if entry["what"] == "answer" else finish(task, entry, *rest),
    )
    job = job_of(study)
    assert house.refused(job, task_of(job, "end", 1, 902)) == "replay"
    assert ended == []
