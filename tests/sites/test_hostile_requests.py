"""Requests that are against a site's terms, or against its requesters: each is refused, with one line and nothing done.

The table in docs/threats.md lists what is here, and a test holds the two together.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.core.errors import FederationError
from accord.core.user_code import read_code
from accord.engines.federation.encoding import decode, encode
from accord.sites.decisions import made
from accord.sites.policy import sign_policy
from accord.sites.records import SiteRecords
from accord.transport.messages import Answer, Job, canonical
from sites.court import BOB, EVE, NORTH, Asked, Change, Court, InProcess
from sites.hospitals import PRIVATE, Hospitals
from sites.in_memory import task_of

PAGE = Path(__file__).parents[2] / "docs" / "threats.md"


@pytest.fixture
def court(hospitals: Hospitals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Court]:
    monkeypatch.setattr("accord.sites.run_work.Worker", InProcess)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()
    (tmp_path / "site").mkdir()
    made_here = Court(tmp_path / "site", hospitals)
    yield made_here
    made_here.close()


def plan(job: Job, **changed: Any) -> Asked:
    return job, task_of(job, "plan", **changed)


def train(court: Court, job: Job, round_number: int = 1, inputs: bytes | None = None, **changed: Any) -> Asked:
    inputs = court.shared() if inputs is None else inputs
    return job, task_of(job, "train", round_number, inputs=inputs, **changed), inputs


def task_of_another_job(court: Court) -> Asked:
    job = court.job()
    return job, replace(task_of(job, "plan"), job="0" * 64)


def stranger(court: Court) -> Asked:
    court.key = EVE
    return plan(replace(court.job(), requester="eve"))


def known_but_not_in_the_rule(court: Court) -> Asked:
    court.key = BOB
    return plan(replace(court.job(), requester="bob", organisation="clinic"))


def noise_elsewhere(court: Court) -> Asked:
    program = {"name": "fedavg", "rounds": 3, "weights": "uniform"}
    return plan(court.job(program=program, privacy={**PRIVATE, "delta": 1e-3, "unit": "client"}))


def signed_by(key: Any, **sections: Any) -> Change:
    def change(court: Court) -> Asked:
        court.key = key
        return plan(court.job(**sections))

    return change


def job_with(**changed: Any) -> Change:
    return lambda court: plan(replace(court.job(), **changed))


def task_with(**changed: Any) -> Change:
    return lambda court: plan(court.job(), **changed)


def study_with(**sections: Any) -> Change:
    return lambda court: plan(court.job(**sections))


def privacy_with(**changed: Any) -> Change:
    return study_with(privacy={**PRIVATE, "delta": 1e-3, **changed})


def training_with(**changed: Any) -> Change:
    return study_with(training={"batch_size": 16, "learning_rate": 0.2, **changed})


def text_of(change: Any) -> Change:
    """The job's study as another text. `change` maps its values to others."""

    def changed(court: Court) -> Asked:
        job = court.job()
        return plan(replace(job, study=change(json.loads(job.study))))

    return changed


def data_with(**changed: Any) -> Change:
    return text_of(lambda values: canonical({**values, "data": {**values["data"], **changed}}).decode())


def terms_with(**changed: Any) -> Change:
    """An honest request after the owner changed the rule."""

    def change(court: Court) -> Asked:
        court.rule.update(changed)
        court.sign()
        return plan(court.job())

    return change


def kind_without(kind: Any, call: int = 0, **leaves: Any) -> Change:
    def change(court: Court) -> Asked:
        court.rule["leaves"] = leaves
        court.sign()
        job, shared = court.job(), court.shared()
        return job, task_of(job, kind, 1, call, inputs=shared), shared

    return change


def asked_for(kind: Any, round_number: int, call: int) -> Change:
    def change(court: Court) -> Asked:
        job, shared = court.job(), court.shared()
        return job, task_of(job, kind, round_number, call, inputs=shared), shared

    return change


def older_policy(court: Court) -> Asked:
    """The owner lowered the budget; someone puts back the policy of before, with its signature."""
    signature = court.policy.with_name(court.policy.name + ".signature")
    before = court.policy.read_bytes(), signature.read_bytes()
    court.rule["budget"] = {"delta": 1e-3, "total": 90.0}
    court.sign()
    assert isinstance(court.train(court.job()), Answer)
    court.policy.write_bytes(before[0])
    signature.write_bytes(before[1])
    return train(court, court.job(), 2)


def older_decision(court: Court) -> Asked:
    """The owner approved, and then rejected; someone puts back the approval of before, with its signature."""
    job = by_hand(court)
    path = court.folder / "decisions" / f"{job.request}.json"
    before = path.read_bytes()
    rejected = court.decisions.decide(NORTH.private, made(job.request, "reject", "no longer needed"))
    court.records.note("decision", {"request": job.request, "sha256": rejected.digest})
    path.write_bytes(before)
    return train(court, job)


def removed_rejection(court: Court) -> Asked:
    """Where rules approve, a study that its owner rejected would run without its rejection."""
    job = court.job()
    rejected = court.decisions.decide(NORTH.private, made(job.request, "reject", "no"))
    court.records.note("decision", {"request": job.request, "sha256": rejected.digest})
    (court.folder / "decisions" / f"{job.request}.json").unlink()
    return train(court, job)


def plan_beyond_the_budget(court: Court) -> Asked:
    court.rule["budget"] = {"delta": 1e-3, "total": 0.01}
    court.sign()
    return plan(court.job())


def evaluation_between(court: Court) -> Asked:
    court.rule["leaves"] = {"evaluation": {"noise_multiplier": 8.0}}
    court.sign()
    job, shared = court.job(evaluation={"every": 2}), court.shared()
    return job, task_of(job, "evaluate", 1, 900, inputs=shared), shared


def more_evaluations(court: Court) -> Asked:
    court.rule["leaves"] = {"evaluation": "exact"}
    court.rule["bounds"] = {"evaluations": 3}
    court.sign()
    return plan(court.job(program={"name": "fedavg", "rounds": 3}))


def evaluation_beyond_the_budget(court: Court) -> Asked:
    """The least noise that still leaves the budget whole, and then the same again."""
    court.rule["leaves"] = {"evaluation": {"noise_multiplier": 1.0}}
    court.rule["budget"] = {"delta": 1e-3, "total": 5.0}
    court.sign()
    job, shared = court.job(), court.shared()
    for number in (1, 2, 3):
        task = task_of(job, "evaluate", number, 900, inputs=shared)
        if not isinstance(court.ask(job, task, shared), Answer):
            break
    assert 0 < court.charges() < 3
    return job, task_of(job, "evaluate", 3, 901, inputs=shared), shared


def evaluation_of_another_network(court: Court) -> Asked:
    court.rule["leaves"] = {"evaluation": {"noise_multiplier": 8.0}}
    court.sign()
    job, other = court.job(), encode({"table_of_rows": torch.zeros(9)})
    return job, task_of(job, "evaluate", 1, 900, inputs=other), other


def requester_with(**changed: Any) -> Change:
    def change(court: Court) -> Asked:
        court.terms["requesters"][0].update(changed)
        court.sign()
        return plan(court.job())

    return change


def changed_on_the_way(what: str) -> Change:
    """A message that is another than the one that was signed."""

    def change(court: Court) -> Asked:
        job = court.job()
        task = task_of(job, "plan")
        court.coordinator.offer(job, task)
        signed_task, signed_job = court.coordinator.tasks.pop()
        if what == "job":
            signed_job = replace(signed_job, message=replace(job, purpose="another"))
        else:
            signed_task = replace(signed_task, message=replace(task, deadline_s=1e9))
        court.coordinator.tasks.append((signed_task, signed_job))
        return job, task

    return change


def code_of(court: Court, text: str) -> str:
    """Installs a loss at the site, and returns the digest of its code."""
    path = court.folder.parent / "code" / "reviewed_loss.py"
    path.write_text(text)
    sys.modules.pop("reviewed_loss", None)
    return read_code(["reviewed_loss:loss"]).digest


LOSS = """import torch

def loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""


def job_with_loss(court: Court, digest: str, function: str = "reviewed_loss:loss") -> Job:
    training = {"batch_size": 16, "learning_rate": 0.2, "loss": function}
    return replace(court.job(training=training), code={function: digest})


def loss_nobody_reviewed(court: Court) -> Asked:
    return plan(job_with_loss(court, code_of(court, LOSS)))


def loss_that_is_not_here(court: Court) -> Asked:
    return plan(job_with_loss(court, "00" * 16, "memorise:rows"))


def code_changed_after_review(court: Court) -> Asked:
    digest = code_of(court, LOSS)
    court.rule["code"] = {"reviewed_loss:loss": digest}
    court.sign()
    job = job_with_loss(court, digest)
    assert isinstance(court.ask(*plan(job)), Answer)
    code_of(court, LOSS + "\nrows = []\n")
    return plan(job, round_number=1)


def by_hand(court: Court, **decision: Any) -> Job:
    court.rule["approval"] = "hand"
    court.sign()
    job = court.job()
    court.decisions.decide(NORTH.private, made(job.request, **{"decision": "approve", **decision}))
    return job


def approval_of_another_study(court: Court) -> Asked:
    by_hand(court)
    return plan(court.job(training={"batch_size": 16, "learning_rate": 0.3}))


def approval_for_another_purpose(court: Court) -> Asked:
    return plan(replace(by_hand(court), purpose="to sell beds"))


def approval_that_ended(court: Court) -> Asked:
    job = by_hand(court, until="2099-01-01")
    court.now += timedelta(days=365 * 80)
    return plan(job)


def approval_taken_back(court: Court) -> Asked:
    job = by_hand(court)
    assert isinstance(court.ask(*plan(job)), Answer)
    court.decisions.decide(NORTH.private, made(job.request, "reject", "no longer needed"))
    return train(court, job)


def forged_approval(court: Court) -> Asked:
    court.rule["approval"] = "hand"
    court.sign()
    job = court.job()
    court.decisions.decide(EVE.private, made(job.request, "approve"))
    return plan(job)


def approval_with_more_epsilon(court: Court) -> Asked:
    job = by_hand(court, epsilon=0.1)
    path = court.folder / "decisions" / f"{job.request}.json"
    path.write_text(path.read_text().replace("0.1", "100.0"))
    return plan(job)


def policy_changed_unsigned(court: Court) -> Asked:
    court.policy.write_text(court.policy.read_text().replace('"least_noise": 0.8', '"least_noise": 0.1'))
    return plan(court.job(privacy={**PRIVATE, "delta": 1e-3, "noise_multiplier": 0.2}))


def policy_signed_by_another(court: Court) -> Asked:
    court.rule["privacy"]["least_noise"] = 0.1
    court.policy.write_text(json.dumps(court.terms))
    sign_policy(court.policy, EVE.private)
    return plan(court.job())


def no_policy(court: Court) -> Asked:
    court.policy.unlink()
    return plan(court.job())


def budget_passed(scope: str) -> Change:
    """The first round meets a budget exactly; the next one passes it."""

    def change(court: Court) -> Asked:
        job = court.job()
        first = court.train(job)
        if scope == "approval":
            court.rule["approval"] = "hand"
            court.decisions.decide(NORTH.private, made(job.request, "approve", epsilon=first.epsilon))
        else:
            court.rule["budget"][scope] = first.epsilon
        court.sign()
        return train(court, job, 2)

    return change


def budget_of_the_study_itself(court: Court) -> Asked:
    """The study gives both noise and epsilon, which the first round uses up."""
    job = court.job(privacy={**PRIVATE, "delta": 1e-3, "epsilon": 3.0}, program={"name": "fedavg", "rounds": 10})
    rounds = 1
    while isinstance(court.train(job, rounds), Answer):
        rounds += 1
        assert rounds < 10
    return train(court, job, rounds + 1)


def privacy_after_training_without(court: Court) -> Asked:
    court.rule["unprotected"] = True
    court.sign()
    assert isinstance(court.train(court.job(privacy=None)), Answer)
    return train(court, replace(court.job(), run="cd" * 16))


def another_job_under_a_run(court: Court) -> Asked:
    court.train(court.job())
    return train(court, court.job(training={"batch_size": 16, "learning_rate": 0.1}), 2)


def end_by_another(court: Court) -> Asked:
    """Bob may ask, too, and knows the number of Ada's run."""
    court.train(court.job())
    court.key = BOB
    job = replace(court.job(), requester="bob", organisation="clinic")
    return job, task_of(job, "end", 1, 902)


def old_round_again(court: Court) -> Asked:
    job, shared = court.job(), court.shared()
    court.train(job, 2, shared)
    return train(court, job, 1, encode({name: value + 1 for name, value in decode(shared).items()}))


def two_coordinators(court: Court) -> Asked:
    job, shared = court.job(), court.shared()
    court.train(job, 1, shared)
    return train(court, job, 1, encode({name: value + 1 for name, value in decode(shared).items()}))


def round_after_its_result_was_collected(court: Court) -> Asked:
    job = court.job()
    for number in (1, 2):
        court.train(job, number)
    return train(court, job, 1)


def after_the_end(court: Court) -> Asked:
    job = court.job()
    court.train(job)
    court.ask(job, task_of(job, "end", 1, 902))
    return train(court, job, 2)


def inputs_of(change: Any) -> Change:
    return lambda court: train(court, court.job(), inputs=change(decode(court.shared())))


def header(values: dict[str, Any], size: int = 0) -> bytes:
    text = canonical(values)
    return len(text).to_bytes(8, "little") + text + bytes(size)


BIG = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}

HOSTILE: dict[str, tuple[str, Change]] = {
    # who asks
    "another version of the messages": ("version", job_with(protocol=2)),
    "a known name, signed with another's key": ("signature", signed_by(replace(EVE, name="ada"))),
    "a job that was changed after it was signed": ("signature", changed_on_the_way("job")),
    "a task that was changed after it was signed": ("signature", changed_on_the_way("task")),
    "a task of another site": ("signature", task_with(site="east")),
    "a job that does not ask this site": ("signature", job_with(sites=("east", "west"))),
    "a task of another job": ("signature", task_of_another_job),
    "a person whom the policy does not name": ("unknown_requester", stranger),
    "another organisation's name": ("unknown_requester", job_with(organisation="clinic")),
    "a key that was revoked": ("revoked", requester_with(revoked=True)),
    "a person whose time is over": ("expired", requester_with(until="2026-03-09")),
    "a job made in the future": ("clock", job_with(created="2099-01-01T00:00:00Z")),
    "a job that does not say when it was made": ("clock", job_with(created="soon")),
    "sites in another order, so that clients change places": ("program", job_with(sites=("west", "north", "east"))),
    # what is asked
    "a study in another form than the approved one": ("program", text_of(lambda values: json.dumps(values))),
    "a study with a key that nobody knows": (
        "program", text_of(lambda values: canonical({**values, "backdoor": 1}).decode()),
    ),
    "a study with an infinite clip norm": (
        "program",
        text_of(lambda values: json.dumps({**values, "privacy": {**values["privacy"], "clip_norm": float("inf")}})),
    ),
    "a second training without privacy beside the private one": ("program", study_with(evaluation={"twin": True})),
    "test rows, row by row": ("program", study_with(evaluation={"predictions": True})),
    "a path for a data set's name": ("program", data_with(data_set="../../etc/passwd")),
    "a data set that has no rule": ("policy", data_with(data_set="bills")),
    "a data set whose rule is for others": ("policy", known_but_not_in_the_rule),
    "terms that have ended": ("expired", terms_with(expires="2026-03-09")),
    "a schema that says otherwise than the owner's": (
        "schema",
        lambda court: plan(court.job(data=with_range(court, [30, 40]))),
    ),
    "a program that is not allowed": ("program", study_with(program={"name": "median", "rounds": 3})),
    "a network that is not allowed": ("model", study_with(model={"name": "logistic"})),
    "a network as large as a table of the rows": ("model", study_with(model={"name": "mlp", "hidden": [64, 64]})),
    "a network with more layers than can be counted": (
        "bounds", study_with(model={"name": "mlp", "hidden": [1] * 5000}),
    ),
    "an optimizer that is not allowed": ("optimizer", training_with(optimizer="adam")),
    "rounds raised": ("bounds", study_with(program={"name": "fedavg", "rounds": 11})),
    "epochs raised": ("bounds", training_with(local_epochs=6)),
    "local steps raised": ("bounds", training_with(local_steps=51)),
    "a batch of one row": ("bounds", training_with(batch_size=1)),
    "a learning rate that returns a gradient as it is": ("bounds", training_with(learning_rate=1.5)),
    "a setting that the owner has not listed": ("bounds", training_with(momentum=0.9)),
    "a setting beyond what the owner has listed": (
        "bounds", study_with(program={"name": "fedprox", "rounds": 3, "mu": 2.0}),
    ),
    "weights from a file of the site": (
        "bounds", study_with(model={"name": "mlp", "hidden": [4], "pretrained": "../key.pem"}),
    ),
    "code that the study does not name": ("code", job_with(code={"os:system": "0" * 32})),
    "a loss that memorises rows, which nobody reviewed": ("code", loss_nobody_reviewed),
    "a loss that is not installed here": ("code", loss_that_is_not_here),
    "code that was changed after it was reviewed": ("code", code_changed_after_review),
    # what it does to rows
    "training without privacy": ("unit", study_with(privacy=None)),
    "another privacy unit": ("unit", privacy_with(unit="batch")),
    "noise that is added elsewhere": ("unit", noise_elsewhere),
    "less noise": ("noise", privacy_with(noise_multiplier=0.79)),
    "less noise, by a larger epsilon": ("noise", privacy_with(noise_multiplier=None, epsilon=200.0)),
    "a larger delta": ("delta", privacy_with(delta=2e-3)),
    "a delta at which a whole row may be published": ("delta", privacy_with(delta=0.03)),
    "a larger clip norm": ("bounds", privacy_with(clip_norm=11.0)),
    "too few contributors": ("contributors", job_with(sites=("east", "north"))),
    "contributors whom nobody knows": ("contributors", terms_with(known_sites=["east", "north", "south"])),
    # approvals and policy
    "a study that waits for approval": ("approval", terms_with(approval="hand")),
    "a study that was changed after its approval": ("approval", approval_of_another_study),
    "another purpose than the approved one": ("approval", approval_for_another_purpose),
    "an approval that has ended": ("expired", approval_that_ended),
    "an approval that was taken back in the middle of a run": ("approval", approval_taken_back),
    "an approval that the owner did not sign": ("approval", forged_approval),
    "an approval whose epsilon was raised in its file": ("approval", approval_with_more_epsilon),
    "a policy that was changed and not signed": ("policy", policy_changed_unsigned),
    "a policy that another signed": ("policy", policy_signed_by_another),
    "a site without a policy": ("policy", no_policy),
    # budgets
    "one round more than the study's budget": ("budget", budget_passed("study")),
    "one round more than the requester's budget": ("budget", budget_passed("requester")),
    "one round more than the month's budget": ("budget", budget_passed("month")),
    "one round more than the rows' budget for ever": ("budget", budget_passed("total")),
    "one round more than the approval's epsilon": ("budget", budget_passed("approval")),
    "one round more than the study's own epsilon": ("budget", budget_of_the_study_itself),
    "privacy on rows that were trained on without it": ("budget", privacy_after_training_without),
    # the order of tasks
    "training before the first round": ("replay", asked_for("train", 0, 0)),
    "an old round again, on other parameters": ("replay", old_round_again),
    "one round from two coordinators, on unlike parameters": ("replay", two_coordinators),
    "a round whose result was collected": ("replay", round_after_its_result_was_collected),
    "another job under a run that was begun": ("replay", another_job_under_a_run),
    "the end of a run by another requester": ("replay", end_by_another),
    "a round after the end": ("ended", after_the_end),
    "a round that the study does not have": ("bounds", asked_for("train", 4, 0)),
    "a round asked over and over": ("bounds", asked_for("train", 1, 8)),
    "test rows asked over and over": ("bounds", kind_without("evaluate", 17, evaluation="exact")),
    "an evaluation after a round that the study evaluates nothing after": ("bounds", evaluation_between),
    "more evaluations than the owner allows": ("bounds", more_evaluations),
    "bins of confidence that single rows fall into": ("bounds", study_with(evaluation={"calibration_bins": 1000})),
    "one evaluation more than the rows' budget for ever": ("budget", evaluation_beyond_the_budget),
    # what leaves
    "updates, where none leave": ("policy", kind_without("train", updates=False)),
    "losses on training rows, where none leave": ("policy", kind_without("losses")),
    "sums over test rows, where none leave": ("policy", kind_without("evaluate", 900)),
    "statistics, where none leave": ("policy", kind_without("describe")),
    "a deadline by which nothing can be done": ("bounds", task_with(deadline_s=0.01)),
    "a deadline before now": ("bounds", task_with(deadline_s=-5.0)),
    "an older policy that was put back": ("policy", older_policy),
    "an approval from before its rejection that was put back": ("approval", older_decision),
    "a study whose rejection was removed": ("approval", removed_rejection),
    "a plan whose first round would pass the budget": ("budget", plan_beyond_the_budget),
    # parameters
    "parameters that are a pickle": ("model", inputs_of(lambda params: b"\x80\x04\x95" + bytes(40))),
    "safetensors that say they hold terabytes": ("model", inputs_of(lambda params: header(BIG, 64))),
    "safetensors with a header of petabytes": (
        "model", inputs_of(lambda params: (10**15).to_bytes(8, "little") + b"{}"),
    ),
    "parameters of another network": (
        "model", inputs_of(lambda params: encode({**params, "table_of_rows": torch.zeros(9)})),
    ),
    "parameters that are not finite": (
        "model", inputs_of(lambda params: encode({name: value * float("inf") for name, value in params.items()})),
    ),
    "parameters of another shape": (
        "model", inputs_of(lambda params: encode({name: value[:1] for name, value in params.items()})),
    ),
    "parameters of another network to evaluate": ("model", evaluation_of_another_network),
    "a kind of work that the program has not": ("program", lambda court: train(court, court.job(), work=7)),
}  # fmt: skip


def with_range(court: Court, ends: list[float]) -> dict[str, Any]:
    section = court.study().data.model_dump()
    section["schema"]["ranges"]["age"] = ends
    return section


def refused(court: Court, change: Change) -> Any:
    """What is said to a hostile request: one line that names nothing of the site's, in the journal as it was sent."""
    asked = change(court)
    lines, charges, kept = len(court.lines()), court.charges(), len(court.coordinator.results)
    said = court.ask(*asked) if not court.coordinator.tasks else court.handle()
    assert not isinstance(said, Answer)
    assert len(court.coordinator.results) == kept, "something left the site"
    kind, body = court.lines()[-1]
    assert (kind, body["code"], body["reason"]) == ("refusal", said.code, said.reason)
    assert re.fullmatch(r"[^\n]{10,400}", said.reason)
    assert str(court.folder) not in said.reason
    assert "Traceback" not in said.reason
    return said, len(court.lines()) - lines, court.charges() - charges


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_refused_and_nothing_is_charged_or_trained(name: str, court: Court) -> None:
    code, change = HOSTILE[name]
    said, lines, charges = refused(court, change)
    assert said.code == code, said.reason
    assert (lines, charges) == (1, 0)


def test_noised_counts_of_too_many_classes_are_refused_before_a_charge(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.sites.evaluation.MOST_CLASSES", 1)
    court.rule["leaves"] = {"evaluation": {"noise_multiplier": 8.0}}
    court.sign()
    job, shared = court.job(), court.shared()
    said = court.ask(job, task_of(job, "evaluate", 1, 900, inputs=shared), shared)
    assert (said.code, court.charges()) == ("policy", 0)


def test_an_honest_request_is_done(court: Court) -> None:
    """The same request without a change, so that no row above is refused for something else."""
    job = court.job()
    stated = court.ask(*plan(job))
    assert stated.values["allowed"] is True
    answer = court.train(job)
    assert isinstance(answer, Answer)
    assert court.charges() == 1
    assert len(court.coordinator.results[-1]) > 100


def test_a_site_whose_ledger_was_put_back_does_not_open_its_records(court: Court) -> None:
    job = court.job()
    court.train(job)
    court.records._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    older = (court.folder / "records.db").read_bytes()
    court.train(job, 2)
    court.close()
    for left in court.folder.glob("records.db*"):
        left.unlink()
    (court.folder / "records.db").write_bytes(older)
    with pytest.raises(FederationError, match="older copy of the database"):
        SiteRecords(court.folder / "records.db", "north", NORTH.private, court.judge.budget)


def test_a_plan_states_epsilon_after_its_evaluations_too(court: Court) -> None:
    stated = court.ask(*plan(court.job())).values
    assert stated["evaluation"] == "none"
    court.rule["leaves"] = {"evaluation": {"noise_multiplier": 8.0}}
    court.sign()
    with_counts = court.ask(*plan(replace(court.job(), run="cd" * 16))).values
    assert with_counts["evaluation"] == "noised"
    assert with_counts["epsilon_after"] > stated["epsilon_after"] + 0.01
    # Without privacy no epsilon holds, under which counts could be charged.
    court.rule["unprotected"] = True
    court.sign()
    plain = court.ask(*plan(replace(court.job(privacy=None), run="ef" * 16))).values
    assert (plain["evaluation"], plain["epsilon_after"]) == ("none", None)


def test_a_deadline_that_preparing_uses_up_is_refused_before_a_charge(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = court.job()
    monkeypatch.setattr("accord.sites.agent.LEAST_DEADLINE_S", 1e9)
    said = court.train(job, deadline_s=60.0)
    assert (said.code, court.charges()) == ("bounds", 0)
    assert said.reason == "no time is left for the work itself; raise engine.deadline_s"


def test_the_number_of_rows_is_stated_rounded(court: Court) -> None:
    """52 training rows are there."""
    assert court.ask(*plan(court.job())).values["rows"] in (1, 100)
    court.rule["leaves"] = {"rows_rounded_to": 20}
    court.sign()
    other = replace(court.job(), run="cd" * 16)
    assert court.ask(*plan(other)).values["rows"] == 60


def test_the_page_lists_every_row(court: Court) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Requests that are refused\n", 1)[1].split("\n## ", 1)[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    listed = {request: code.strip("`") for request, code in cells[2:]}
    assert listed == {name: code for name, (code, _) in HOSTILE.items()}
    assert len(HOSTILE) >= 40


def test_the_page_names_tests_that_there_are() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Tampering that is found\n", 1)[1].split("\n## ", 1)[0]
    source = (Path(__file__).parent / "test_records.py").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)`", text)
    assert len(named) >= 10
    assert [name for name in named if f"def {name}(" not in source] == []
