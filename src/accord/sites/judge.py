"""The site's judge: the signed policy and the signed decisions, asked anew for every message.

It sees the study as the site itself validated it, and what the site knows of its own rows. What is allowed is said by
`rules`, which are functions of values; here are the files that they are read from.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from accord.config.schema import Study
from accord.core.errors import AccordError
from accord.sites import rules
from accord.sites.contracts import Facts, Terms
from accord.sites.decisions import MOST_WAITING, Decision, Decisions
from accord.sites.policy import Budget, Policy, PolicyFile, Release
from accord.sites.refused import RefusedError
from accord.transport.messages import Job, Task


class PolicyJudge:
    """See `contracts.Judge`.

    Args:
        policy: the signed file.
        decisions: the signed decisions.
        now: tells the time.
    """

    def __init__(self, policy: PolicyFile, decisions: Decisions, now: Callable[[], datetime] = rules.now_utc) -> None:
        self._policy = policy
        self._decisions = decisions
        self._now = now

    def public_key(self, requester: str) -> str:
        """See `contracts.Judge.public_key`."""
        return rules.find_requester(self._read(), requester, self._now()).key

    def stamp(self, job: Job) -> dict[str, Any]:
        """See `contracts.Judge.stamp`."""
        self._read()
        decision = self._decision(job)
        return self._policy.stamp | ({} if decision is None else {"decision": decision.digest})

    def admit(self, job: Job, study: Study, task: Task) -> Terms:
        """See `contracts.Judge.admit`."""
        now = self._now()
        rule = rules.find_rule(self._read(), job, study, now)
        rules.check_study_within(rule, study, job)
        rules.check_task(rule, study, task)
        decision = self._decision(job)
        if rule.approval == "hand" and decision is None and not self._decisions.note(job):
            raise RefusedError(
                "approval", f"{MOST_WAITING} requests of {job.requester} wait for a decision; ask the owner"
            )
        rules.check_decision(rule, job, decision, now)
        statistics, evaluation = rule.leaves.statistics, rule.leaves.evaluation
        exact = 0.0 if evaluation == "exact" else None
        return Terms(
            statistics_noise=None if statistics is None else statistics.noise_multiplier,
            statistics_delta=1e-6 if statistics is None else statistics.delta,
            rows_rounded_to=rule.leaves.rows_rounded_to,
            evaluation_noise=evaluation.noise_multiplier if isinstance(evaluation, Release) else exact,
            evaluation_delta=evaluation.delta if isinstance(evaluation, Release) else 1e-6,
            least_group=rule.leaves.least_group,
            memory_mb=rule.bounds.memory_mb,
            deadline_s=rule.bounds.deadline_s,
        )

    def weigh(self, job: Job, study: Study, facts: Facts) -> None:
        """See `contracts.Judge.weigh`."""
        rules.weigh(rules.find_rule(self._read(), job, study, self._now()), job, study, facts)

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
