"""A site's agent: it leases tasks, judges each, has the work done, and answers. The site only calls out.

For each task, in this order: the messages are checked, the policy is asked (read anew), the charge is written, the work
is done, charge and answer are on the disk, the answer is sent. So a kill at any place loses nothing and charges nothing
twice. Begun work is done again under its charge, since nothing of it has left. An answer is sent again as it is.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeVar

from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.errors import AccordError, Fault, StorageError
from accord.core.user_code import UserCode
from accord.sites import rules
from accord.sites.bindings import Binding
from accord.sites.checks import LEAST_DEADLINE_S, check_code, check_inputs, check_messages, check_order, check_study
from accord.sites.contracts import Charge, Facts, Judge, Known, Outgoing, Records, Terms
from accord.sites.refused import RefusedError
from accord.sites.run_work import RunWork, open_run
from accord.sites.statistics import release_plan
from accord.sites.worker import Log, WorkerDiedError
from accord.transport.exchange import Lease, SiteExchange
from accord.transport.messages import Answer, Job, Refusal, Task

_T = TypeVar("_T")
_TRIES = 3
"""How often work is begun whose process ends in the middle."""
_WAIT_S = 20.0
_PAUSE_S = (1.0, 30.0)
"""The first and the longest pause while the coordinator cannot be reached."""
_WARM = 4
"""Runs whose process is kept."""


@dataclass
class Agent:
    """A site's agent.

    Attributes:
        name: the site.
        exchange: reaches the coordinator.
        judge: the policy and the approvals.
        records: the ledger, the journal and the outbox.
        bindings: returns the data sets bound here, by name, read anew.
        sign: signs an answer or a refusal with the site's key.
        log: takes lines for the owner.
    """

    name: str
    exchange: SiteExchange
    judge: Judge
    records: Records
    bindings: Callable[[], Mapping[str, Binding]]
    sign: Callable[[Answer | Refusal], Outgoing]
    log: Log = lambda line: None
    _runs: dict[str, RunWork] = field(default_factory=dict)

    def run(self, stop: Callable[[], bool]) -> None:
        """Works until `stop` says so, whatever fails at the coordinator."""
        pause, stalled = _PAUSE_S[0], False
        try:
            while not stop():
                try:
                    if stalled:
                        # Who asks for work is waited for: not before an answer could be put on record.
                        self.records.note("resume", {"site": self.name})
                        stalled = False
                    lease = self.exchange.lease(_WAIT_S)
                    pause = _PAUSE_S[0]
                    if lease is not None:
                        self.handle(lease)
                except StorageError as error:
                    stalled = True
                    self.log(f"{error}; no work is asked for before that, looked at again in {pause:g} s")
                    time.sleep(pause)
                    pause = min(2 * pause, _PAUSE_S[1])
                except Exception as error:  # noqa: BLE001 - what a coordinator sends may be anything
                    # Also where the coordinator refuses, as after a lease that has ended. Nothing is lost by waiting,
                    # and an agent that ended would wait for a hand.
                    told = str(error) if isinstance(error, AccordError) else traceback.format_exc()
                    self.log(f"the coordinator cannot be reached or refuses, again in {pause:g} s: {told}")
                    time.sleep(pause)
                    pause = min(2 * pause, _PAUSE_S[1])
        finally:
            self.close()

    def close(self) -> None:
        """Ends all work's processes."""
        while self._runs:
            self._runs.popitem()[1].close()

    def handle(self, lease: Lease) -> None:
        """Does what a lease asks, or refuses it. Either is on the disk here before it is sent.

        Raises:
            Fault: the coordinator cannot be reached. What was to be sent is sent when the task is leased again.
        """
        task = lease.task.message
        try:
            job, task = check_messages(lease, self.name, self.judge)
            known = self.records.known(task.run, task.round, task.call)
            if known is not None and known.task != task.digest():
                raise RefusedError("replay", "another task was asked under this run, round and call")
            if known is not None and known.outgoing is not None:
                self._send(lease, known.outgoing, known.result)
                return
            outgoing, result = self._judged(lease, job, task, known)
        except RefusedError as refused:
            if refused.__cause__ is not None:
                self.log(f"{refused.code}: {refused.reason}: {refused.__cause__}")
            outgoing, result = self._refused(task, refused), b""
        except Fault:
            raise
        except Exception:  # noqa: BLE001 - whatever a message brings about, the agent serves the next one
            self.log(traceback.format_exc())
            failed = RefusedError("fault", "this site failed at the task, and its own log has the cause")
            outgoing, result = self._refused(task, failed), b""
        self._send(lease, outgoing, result)

    def _judged(self, lease: Lease, job: Job, task: Task, known: Known | None) -> tuple[Outgoing, bytes]:
        if known is None:
            check_order(task, self.records)
        study, data = check_study(job)
        if task.kind == "end":
            # First on the record, which refuses the end of another's run.
            outgoing = self._answered(task, {}, None, b"", None)
            self._end(task.run)
            return outgoing, b""
        code = check_code(job, study)
        terms, policy = self.judge.admit(job, study, task), self.judge.stamp(job)
        self.records.check_stamp(policy, job)
        binding = self.bindings().get(data.data_set)
        if binding is None:
            raise RefusedError("data_set", f"{self.name} has no data set {data.data_set!r}")
        run = self._opened(job, binding, (study, data), code, terms)
        run.alive = _renewed(self.exchange, lease)
        facts = run.facts()
        self.judge.weigh(job, study, facts)
        charge = _charge(data.data_set, facts)
        if task.kind == "plan":
            return self._plan(task, run, facts, terms, charge), b""
        if task.kind == "describe":
            charge = _statistics_charge(data.data_set, facts, terms)
        if task.kind == "losses" and charge is not None:
            # Before it is begun, by which rows would count as used without privacy.
            raise RefusedError("unit", "no privacy covers the mean loss on training rows; use a program without it")
        if task.kind == "evaluate":
            charge = _evaluation_charge(data.data_set, facts, terms)
        charged = charge if task.kind in ("train", "describe", "evaluate") else None
        inputs = self.exchange.fetch(task.inputs) if task.inputs else b""
        check_inputs(inputs)
        ends = time.monotonic() + min(terms.deadline_s, task.deadline_s)
        # All that the process can refuse without a look at a row, before anything is charged for it.
        self._tried(run, task, ends, lambda: run.check(task, inputs, terms, ends))
        if ends - time.monotonic() < LEAST_DEADLINE_S / 2:
            raise RefusedError("bounds", "no time is left for the work itself; raise engine.deadline_s")
        if known is None:
            epsilon = self.records.begin(task, job, charged, policy)
        else:
            self.records.check_begun(task, charged)
            epsilon = known.epsilon
        kept = self.records.carried(task.run)
        values, result, carried = self._tried(run, task, ends, lambda: run.work(task, inputs, kept, terms, ends))
        return self._answered(task, values, epsilon, result, carried), result

    def _tried(self, run: RunWork, task: Task, ends: float, do: Callable[[], _T]) -> _T:
        """Has something done, again where the process ends in the middle. Nothing of that has left, so nothing is
        charged again.
        """
        for left in reversed(range(_TRIES)):
            try:
                return do()
            except WorkerDiedError as died:
                self.log(f"round {task.round}: {died.reason}")
                if not left or time.monotonic() >= ends or not run.alive():
                    raise
        raise AssertionError

    def _plan(self, task: Task, run: RunWork, facts: Facts, terms: Terms, charge: Charge | None) -> Outgoing:
        """States what the site would do, after everything that could refuse it has been tried."""
        run.prepare()
        if charge is not None:
            # A run whose first round would pass a budget is told so before anyone trains.
            self.records.check_budgets(run.job, charge)
        before, after, evaluation = self._stated(run, facts, terms, charge)
        each = terms.rows_rounded_to
        values = {
            "rows": max(1, round(facts.rows / each) * each),
            "rows_rounded_to": each,
            "noise_multiplier": None if facts.plan is None else facts.plan.noise_multiplier,
            "epsilon_before": before,
            "epsilon_after": after,
            "allowed": True,
            "evaluation": evaluation,
        }
        return self._answered(task, values, before, b"", None)

    def _stated(
        self, run: RunWork, facts: Facts, terms: Terms, charge: Charge | None
    ) -> tuple[float | None, float | None, str]:
        """Returns epsilon now and after all rounds and evaluations, and how the site evaluates."""
        evaluation = {None: "none", 0.0: "exact"}.get(terms.evaluation_noise, "noised")
        if charge is None:
            # After training without privacy no epsilon holds, so that no evaluation could be charged.
            return None, None, "none" if evaluation == "noised" else evaluation
        rounds = _all_rounds(charge, facts)
        judged = _evaluation_charge(charge.data_set, facts, terms) if evaluation == "noised" else None
        if judged is not None:
            try:
                all_of_them = replace(judged, steps=rules.evaluations(run.study))
                return *self.records.epsilons(rounds, run.job, all_of_them), evaluation
            except RefusedError:
                # Its unit does not add up with that of counts, so that no evaluation could be charged.
                evaluation = "none"
        return *self.records.epsilons(rounds, run.job), evaluation

    def _opened(
        self, job: Job, binding: Binding, study: tuple[Study, SitesData], code: UserCode | None, terms: Terms
    ) -> RunWork:
        if job.run in self._runs and self._runs[job.run].job != job:
            raise RefusedError("replay", "the run was begun here under another job; give each run a number of its own")
        if job.run not in self._runs:
            while len(self._runs) >= _WARM:
                self._runs.pop(next(iter(self._runs))).close()
            self._runs[job.run] = open_run(job, study, binding, self.name, code, terms, self.log)
        return self._runs[job.run]

    def _end(self, run: str) -> None:
        if run in self._runs:
            self._runs.pop(run).close()

    def _answered(
        self, task: Task, values: dict[str, Any], epsilon: float | None, result: bytes, carried: bytes | None
    ) -> Outgoing:
        digest = sha256(result).hexdigest() if result else ""

        def make(line: int, head: str) -> Outgoing:
            about = (task.digest(), self.name, task.run, task.round, task.call, task.kind)
            return self.sign(Answer(*about, digest, values, epsilon, line, head))

        entry = {"what": "answer", "kind": task.kind, "result": digest, "values": values, "epsilon": epsilon}
        return self.records.finish(task, entry, make, result, carried)

    def _refused(self, task: Task, refused: RefusedError) -> Outgoing:
        def make(line: int, head: str) -> Outgoing:
            about = (task.digest(), self.name, task.run, task.round, task.call)
            return self.sign(Refusal(*about, refused.code, refused.reason, line, head))

        entry = {"what": "refusal", "kind": task.kind, "code": refused.code, "reason": refused.reason}
        return self.records.finish(task, entry, make)

    def _send(self, lease: Lease, outgoing: Outgoing, result: bytes) -> None:
        if isinstance(outgoing.message, Answer):
            receipt = self.exchange.answer(lease, outgoing, result)
        else:
            receipt = self.exchange.refuse(lease, outgoing)
        self.records.acknowledge(lease.task.message, receipt)


def _charge(data_set: str, facts: Facts) -> Charge | None:
    if facts.plan is None:
        return None
    return Charge(data_set, facts.plan, facts.rows, facts.plan.charge(facts.steps))


def _statistics_charge(data_set: str, facts: Facts, terms: Terms) -> Charge:
    if terms.statistics_noise is None:
        raise RefusedError("policy", "statistics of its rows do not leave this site")
    return Charge(data_set, release_plan(terms.statistics_noise, terms.statistics_delta), facts.rows, 1)


def _evaluation_charge(data_set: str, facts: Facts, terms: Terms) -> Charge | None:
    """Test rows are charged as all rows are: a row that is a test row today may be a training row of another cut."""
    if terms.evaluation_noise is None:
        raise RefusedError("policy", "no evaluation on its test rows leaves this site; ask the owner for it")
    if terms.evaluation_noise == 0:
        return None
    # At the study's delta, so that what the site states after it goes with what it states after a round.
    delta = terms.evaluation_delta if facts.plan is None else facts.plan.delta
    return Charge(data_set, release_plan(terms.evaluation_noise, delta), facts.rows, 1)


def _all_rounds(charge: Charge, facts: Facts) -> Charge:
    return Charge(charge.data_set, charge.plan, charge.rows, charge.steps * facts.rounds)


def _renewed(exchange: SiteExchange, lease: Lease) -> Callable[[], bool]:
    """Returns a function that keeps a lease while it is called now and then, and says whether the task is wanted."""
    every = lease.expires_s / 3
    last = time.monotonic()

    def alive() -> bool:
        nonlocal last
        if time.monotonic() - last < every:
            return True
        last = time.monotonic()
        try:
            return exchange.renew(lease)
        except Fault:
            # Nobody can say. The answer will be kept, and sent when the task is leased again.
            return True

    return alive
