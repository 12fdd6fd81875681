"""What a policy allows, as functions of values: the policy, the decision, what is asked, what the site knows, the time.

Everything that is not allowed by name and by number is refused, with a code and a line that says what to change.
"""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from accord.config.base import Section
from accord.config.schema import Study
from accord.orchestration.site_run import EVALUATE, EVALUATE_FINAL
from accord.sites.contracts import Facts
from accord.sites.decisions import Decision
from accord.sites.model_size import count_parameters
from accord.sites.policy import Policy, Requester, Rule
from accord.sites.refused import RefusedError
from accord.transport.messages import Job, Task

MOST_CALLS = 8
"""Questions of one kind in a round, at most. Programs ask one or two."""
_ELSEWHERE = {
    "program.name", "model.name", "program.rounds", "training.optimizer", "training.learning_rate",
    "training.batch_size", "training.local_epochs", "training.local_steps",
}  # fmt: skip
"""Settings that have lists or bounds of their own."""
_NOT_HERE = {
    "program.cohort_size", "program.cohort_sampling", "program.min_clients", "program.weights", "program.weight_cap",
}  # fmt: skip
"""Settings that say which sites are asked and how their updates are weighed. They change nothing at a site."""


def find_requester(policy: Policy, name: str, now: datetime) -> Requester:
    """Returns who asks.

    Raises:
        RefusedError: the policy does not name the person, or no longer.
    """
    for each in policy.requesters:
        if each.name != name:
            continue
        if each.revoked:
            raise RefusedError("revoked", f"the key of {name} was revoked here; ask with another name and key")
        if each.until is not None and now.date() > each.until:
            raise RefusedError("expired", f"{name} could ask until {each.until}; ask the owner to renew it")
        return each
    raise RefusedError("unknown_requester", f"{name[:63]!r} may not ask here; the owner can name you in the policy")


def find_rule(policy: Policy, job: Job, study: Study, now: datetime) -> Rule:
    """Returns the rule for a study's data set.

    Raises:
        RefusedError: there is none, it is not for the requester, or it has expired.
    """
    data_set = getattr(study.data, "data_set", "")
    person = find_requester(policy, job.requester, now)
    if person.organisation != job.organisation:
        raise RefusedError("unknown_requester", f"{job.requester} is not of {job.organisation[:63]!r} here")
    for rule in policy.rules:
        if rule.data_set != data_set:
            continue
        if person.name not in rule.requesters and person.organisation not in rule.organisations:
            break
        if rule.expires is not None and now.date() > rule.expires:
            raise RefusedError("expired", f"the terms for {data_set} ended {rule.expires}; ask the owner to renew them")
        return rule
    raise RefusedError("policy", f"{job.requester} may do nothing with data set {data_set!r} here; ask the owner")


def check_task(rule: Rule, study: Study, task: Task) -> None:
    """Refuses a task of a kind that may not leave, or that the study has no place for.

    Raises:
        RefusedError: it does.
    """
    leaves = rule.leaves
    allowed = {
        "plan": True,
        "end": True,
        "train": leaves.updates,
        "losses": leaves.losses,
        "evaluate": leaves.evaluation is not None,
        "describe": leaves.statistics is not None,
    }
    # A kind that is unknown here is refused, too.
    if not allowed.get(task.kind, False):
        raise RefusedError("policy", f"what {task.kind} gives does not leave this site; the owner can allow it")
    if task.round > study.program.rounds:
        raise RefusedError("bounds", f"round {task.round} is asked, and the study has {study.program.rounds}")
    # Each answer tells something more of the rows, noised or not: so none is given that the study does not need.
    every, last = study.evaluation.every, study.program.rounds
    if task.kind == "evaluate" and (
        task.round < 1
        or task.call not in (EVALUATE, EVALUATE_FINAL)
        or (task.call == EVALUATE and task.round % every and task.round != last)
    ):
        raise RefusedError("bounds", "the model is evaluated once after the rounds that the study says, and at its end")
    if task.kind in ("train", "losses") and task.call >= MOST_CALLS:
        raise RefusedError("bounds", f"a round asks a site {MOST_CALLS} times at most")


def check_study_within(rule: Rule, study: Study, job: Job) -> None:
    """Refuses a study that is not within a rule's lists and bounds.

    Raises:
        RefusedError: names the setting, what it is and what is allowed.
    """
    training = study.training
    for code, what, name, allowed in (
        ("program", "program", study.program.name, rule.programs),
        ("model", "model", study.model.name, rule.models),
    ):
        if name not in allowed:
            raise RefusedError(code, f"{what} {name} is not allowed here; use {' or '.join(allowed)}")
    if ":" not in training.optimizer and training.optimizer not in rule.optimizers:
        known = " or ".join(rule.optimizers)
        raise RefusedError("optimizer", f"training.optimizer {training.optimizer} is not allowed here; use {known}")
    for function, digest in job.code.items():
        if rule.code.get(function) != digest:
            raise RefusedError(
                "code", f"{function} is not allowed here, or is another version; have the owner review and list it"
            )
    if study.privacy is None and not rule.unprotected:
        raise RefusedError("unit", "training without privacy is not allowed here; give the study privacy")
    _check_bounds(rule, study)
    _check_settings(rule, study, job)
    # Last: only now is it known that the network has few layers.
    count = count_parameters(study)
    if count is not None and count > rule.bounds.parameters:
        raise RefusedError(
            "model", f"the network has {count:,} parameters, and {rule.bounds.parameters:,} is the most here"
        )


def _check_bounds(rule: Rule, study: Study) -> None:
    training, bounds = study.training, rule.bounds
    steps, epochs = training.local_steps, training.local_epochs
    for name, value, most in (
        ("program.rounds", study.program.rounds, bounds.rounds),
        ("training.local_epochs", epochs if epochs is not None else (1 if steps is None else 0), bounds.local_epochs),
        ("training.local_steps", steps or 0, bounds.local_steps),
        ("training.learning_rate", training.learning_rate, bounds.learning_rate),
        ("evaluation.calibration_bins", study.evaluation.calibration_bins, bounds.calibration_bins),
    ):
        # Written so that NaN fails, too.
        if not value <= most:
            raise RefusedError("bounds", f"{name} {value:g} is above {most:g}, which is the most here")
    asked = evaluations(study)
    if rule.leaves.evaluation is not None and asked > bounds.evaluations:
        raise RefusedError(
            "bounds",
            f"the study asks for {asked} evaluations, and {bounds.evaluations} is the most here; raise "
            "evaluation.every",
        )
    if training.batch_size != "full" and training.batch_size < bounds.least_batch:
        raise RefusedError(
            "bounds", f"training.batch_size {training.batch_size} is below {bounds.least_batch}, the least here"
        )


def evaluations(study: Study) -> int:
    """Returns how often a study has its sites evaluate the model, the one at its end included."""
    return -(-study.program.rounds // study.evaluation.every) + 1


def _check_settings(rule: Rule, study: Study, job: Job) -> None:
    """Refuses every setting that is neither its default nor listed, so that one that is new here is refused."""
    for section in ("program", "model", "training"):
        for name, value, usual in _settings(section, getattr(study, section)):
            if name in _ELSEWHERE | _NOT_HERE or value == usual or (isinstance(value, str) and value in job.code):
                continue
            bound = rule.settings.get(name)
            if bound is None:
                raise RefusedError("bounds", f"{name} {_short(value)} is not listed here; leave {name} out")
            if not bound.allows(value):
                raise RefusedError("bounds", f"{name} {_short(value)} is not allowed here; use {bound.words()}")


def _settings(where: str, section: Section) -> Iterator[tuple[str, Any, Any]]:
    """Yields every setting of a section by its dotted name, its value, and its default."""
    for name, field in type(section).model_fields.items():
        value, usual, path = getattr(section, name), field.get_default(call_default_factory=True), f"{where}.{name}"
        if isinstance(value, Section):
            # A section that is null by default is something of its own, even where all that is in it is usual.
            yield from ((inner, got, usual and like) for inner, got, like in _settings(path, value))
        elif isinstance(value, dict):
            yield from ((f"{path}.{key}", item, None) for key, item in value.items() if value != usual)
        else:
            yield path, value, usual


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_decision(rule: Rule, job: Job, decision: Decision | None, now: datetime) -> None:
    """Refuses what its owner rejected, or has not approved where the rule asks for it.

    Raises:
        RefusedError: `approval` or `expired`.
    """
    if decision is not None and decision.decision == "reject":
        why = f": {decision.reason}" if decision.reason else ""
        raise RefusedError("approval", f"the owner rejected request {job.request[:12]}{why}")
    if rule.approval == "rule":
        return
    if decision is None or decision.decision != "approve":
        raise RefusedError("approval", f"request {job.request[:12]} waits for the owner's approval")
    if decision.until and datetime.fromisoformat(decision.until) <= now:
        raise RefusedError("expired", f"the approval of {job.request[:12]} ended {decision.until}; ask again")


def weigh(rule: Rule, job: Job, study: Study, facts: Facts) -> None:
    """Refuses a run by what it would do to the rows.

    Raises:
        RefusedError: `contributors`, `unit`, `noise`, `delta` or `bounds`.
    """
    counted = len(set(job.sites) & set(rule.known_sites)) if rule.known_sites else len(set(job.sites))
    if counted < rule.contributors:
        which = "known sites" if rule.known_sites else "sites"
        raise RefusedError(
            "contributors", f"{counted} {which} take part, and this site asks for {rule.contributors} or more"
        )
    plan, terms = facts.plan, rule.privacy
    if plan is None:
        if not rule.unprotected or study.privacy is not None:
            raise RefusedError("unit", "training without privacy is not allowed here; give the study privacy")
        return
    if terms is None or rule.budget is None:
        raise RefusedError("unit", "these rows are not for private training; ask the owner for a rule")
    if plan.unit not in terms.units:
        raise RefusedError("unit", f"privacy.unit {plan.unit} is not allowed here; use {' or '.join(terms.units)}")
    if not plan.noise_multiplier >= terms.least_noise:
        raise RefusedError(
            "noise",
            f"the noise multiplier over these rows is {plan.noise_multiplier:.4g}, the least here "
            f"{terms.least_noise:g}; raise it, or lower epsilon",
        )
    if not plan.delta <= terms.most_delta:
        raise RefusedError("delta", f"privacy.delta {plan.delta:g} is above {terms.most_delta:g}; lower it")
    if not max(plan.delta, rule.budget.delta) * facts.rows < 1:
        raise RefusedError("delta", "a delta is 1/n of these rows or more, at which a whole row may be published")
    if not plan.clip_norm <= terms.most_clip_norm or not math.isfinite(plan.clip_norm):
        raise RefusedError("bounds", f"privacy.clip_norm {plan.clip_norm:g} is above {terms.most_clip_norm:g}")


def now_utc() -> datetime:
    """Returns the time of this machine's clock."""
    return datetime.now(UTC)
