"""The site's judge: the signed policy and the signed decisions, asked anew for every message.

It sees the study as the site itself validated it, and what the site knows of its own rows. Whatever is not allowed by
name and by number is refused, with a code and a line that says what to change.
"""

from datetime import UTC, datetime

from accord.config.schema import Study
from accord.core.errors import AccordError
from accord.sites.contracts import Facts, Terms
from accord.sites.decisions import Decision, Decisions
from accord.sites.policy import Bounds, Budget, Policy, PolicyFile, Requester, Rule
from accord.sites.refused import RefusedError
from accord.transport.messages import Job, Task


class PolicyJudge:
    """See `contracts.Judge`.

    Args:
        policy: the signed file.
        decisions: the signed decisions.
    """

    def __init__(self, policy: PolicyFile, decisions: Decisions) -> None:
        self._policy = policy
        self._decisions = decisions

    def public_key(self, requester: str) -> str:
        """See `contracts.Judge.public_key`."""
        return _requester(self._read(), requester).key

    def admit(self, job: Job, study: Study, task: Task) -> Terms:
        """See `contracts.Judge.admit`."""
        policy = self._read()
        person, rule = _requester(policy, job.requester), _rule(policy, job, study)
        if person.organisation != job.organisation:
            raise RefusedError("unknown_requester", f"{job.requester} is not of {job.organisation!r} here")
        check_study_within(rule, study, job)
        if task.kind == "losses" and not rule.leaves.losses:
            raise RefusedError("policy", "losses on training rows do not leave this site; use a program without them")
        if task.kind == "train" and not rule.leaves.updates:
            raise RefusedError("policy", "updates do not leave this site")
        self._check_approval(rule, job)
        statistics = rule.leaves.statistics
        return Terms(
            statistics_noise=None if statistics is None else statistics.noise_multiplier,
            statistics_delta=1e-6 if statistics is None else statistics.delta,
            rows_rounded_to=rule.leaves.rows_rounded_to,
            evaluation=rule.leaves.evaluation,
            least_group=rule.leaves.least_group,
            memory_mb=rule.bounds.memory_mb,
            deadline_s=rule.bounds.deadline_s,
        )

    def weigh(self, job: Job, study: Study, facts: Facts) -> None:
        """See `contracts.Judge.weigh`."""
        rule = _rule(self._read(), job, study)
        if len(job.sites) < rule.contributors:
            raise RefusedError(
                "contributors", f"{len(job.sites)} sites take part, and this site asks for {rule.contributors} or more"
            )
        plan = facts.plan
        if plan is None:
            if not rule.unprotected or study.privacy is not None:
                raise RefusedError("unit", "training without privacy is not allowed here; give the study privacy")
            return
        terms = rule.privacy
        if terms is None:
            raise RefusedError("unit", "these rows are not for private training; ask the owner for a rule")
        if plan.unit not in terms.units:
            raise RefusedError("unit", f"privacy.unit {plan.unit} is not allowed here; use {' or '.join(terms.units)}")
        if plan.noise_multiplier < terms.least_noise:
            raise RefusedError(
                "noise",
                f"the noise multiplier over these rows is {plan.noise_multiplier:.4g}, the least here "
                f"{terms.least_noise:g}; raise it, or lower epsilon",
            )
        if plan.delta > terms.most_delta:
            raise RefusedError("delta", f"privacy.delta {plan.delta:g} is above {terms.most_delta:g}; lower it")
        if plan.clip_norm > terms.most_clip_norm:
            raise RefusedError("bounds", f"privacy.clip_norm {plan.clip_norm:g} is above {terms.most_clip_norm:g}")

    def budget(self, job: Job, data_set: str) -> Budget | None:
        """Returns what may be spent on a data set's rows under a job, or None where nothing may.

        An approval may say less than the policy.
        """
        rule = next((each for each in self._read().rules if each.data_set == data_set), None)
        if rule is None or rule.budget is None:
            return None
        decision = self._decision(job)
        if decision is None or decision.epsilon is None:
            return rule.budget
        least = min(decision.epsilon, rule.budget.study or decision.epsilon)
        return rule.budget.model_copy(update={"study": least})

    def _read(self) -> Policy:
        try:
            return self._policy.read()
        except AccordError as error:
            # Its line names a file of the owner's.
            raise RefusedError("policy", "this site has no signed policy; its owner knows") from error

    def _decision(self, job: Job) -> Decision | None:
        try:
            return self._decisions.find(job.request)
        except AccordError as error:
            raise RefusedError("approval", "the decision on this request is damaged; its owner knows") from error

    def _check_approval(self, rule: Rule, job: Job) -> None:
        decision = self._decision(job)
        if decision is not None and decision.decision == "reject":
            why = f": {decision.reason}" if decision.reason else ""
            raise RefusedError("approval", f"the owner rejected request {job.request[:12]}{why}")
        if rule.approval == "rule":
            return
        if decision is None:
            if not self._decisions.note(job):
                raise RefusedError("approval", "too many requests wait for a decision; ask the owner")
            raise RefusedError("approval", f"request {job.request[:12]} waits for the owner's approval")
        if decision.until and datetime.fromisoformat(decision.until) <= datetime.now(UTC):
            raise RefusedError("expired", f"the approval of {job.request[:12]} ended {decision.until}; ask again")


def check_study_within(rule: Rule, study: Study, job: Job) -> None:
    """Refuses a study that is not within a rule's lists and bounds.

    Raises:
        RefusedError: names the setting, what it is and what is allowed.
    """
    training, bounds = study.training, rule.bounds
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
    _check_bounds(study, bounds)
    if study.privacy is None and not rule.unprotected:
        raise RefusedError("unit", "training without privacy is not allowed here; give the study privacy")


def _check_bounds(study: Study, bounds: Bounds) -> None:
    training = study.training
    steps, epochs = training.local_steps, training.local_epochs
    for name, value, most in (
        ("program.rounds", study.program.rounds, bounds.rounds),
        ("training.local_epochs", epochs if epochs is not None else (1 if steps is None else 0), bounds.local_epochs),
        ("training.local_steps", steps or 0, bounds.local_steps),
        ("training.learning_rate", training.learning_rate, bounds.learning_rate),
    ):
        # Written so that NaN fails, too.
        if not value <= most:
            raise RefusedError("bounds", f"{name} {value:g} is above {most:g}, which is the most here")
    if training.batch_size != "full" and training.batch_size < bounds.least_batch:
        raise RefusedError(
            "bounds", f"training.batch_size {training.batch_size} is below {bounds.least_batch}, the least here"
        )


def _requester(policy: Policy, name: str) -> Requester:
    for each in policy.requesters:
        if each.name == name:
            return each
    raise RefusedError("unknown_requester", f"{name[:63]!r} may not ask here; the owner can name you in the policy")


def _rule(policy: Policy, job: Job, study: Study) -> Rule:
    """Returns the rule for a study's data set, where the requester is among those it is for."""
    data_set = getattr(study.data, "data_set", "")
    person = _requester(policy, job.requester)
    for rule in policy.rules:
        if rule.data_set != data_set:
            continue
        if person.name not in rule.requesters and person.organisation not in rule.organisations:
            break
        if rule.expires is not None and datetime.now(UTC).date() > rule.expires:
            raise RefusedError("expired", f"the terms for {data_set} ended {rule.expires}; ask the owner to renew them")
        return rule
    raise RefusedError("policy", f"{job.requester} may do nothing with data set {data_set!r} here; ask the owner")
