"""A run at a site: its process, what the site knows of it, and requests to the process in the order it needs them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.config.schema import Study
from accord.config.sites_data import SitesData
from accord.core.user_code import UserCode
from accord.sites.bindings import Binding, check_schema
from accord.sites.contracts import Facts, Terms
from accord.sites.plan import site_plan, task_steps
from accord.sites.refused import RefusedError
from accord.sites.sandbox import Limits
from accord.sites.worker import Log, Worker
from accord.transport.messages import Job, Task

_START_S = 600.0
"""Seconds to read the rows, or to prepare a run."""


@dataclass
class RunWork:
    """A run at a site.

    Attributes:
        job: the run.
        study: its study.
        binding: the rows.
        site: this site.
        worker: the process.
        alive: asked every second or so whether the task at hand is still wanted.
    """

    job: Job
    study: Study
    binding: Binding
    site: str
    worker: Worker
    alive: Callable[[], bool] = lambda: True
    _facts: Facts | None = None
    _prepared: bool = False

    def facts(self) -> Facts:
        """Reads the rows, and computes the site's own plan from their number.

        The plan is computed here, in the agent. Code of the study's own has not been loaded then, and could not change
        what is charged.

        Raises:
            RefusedError: the rows cannot be read, or no plan goes with them.
        """
        if self._facts is None:
            rows = self._read()
            plan = site_plan(self.study, rows, len(self.job.sites))
            self._facts = Facts(rows, plan, task_steps(self.study, rows), self.study.program.rounds)
        return self._facts

    def ensure_rows(self) -> Facts:
        """Reads the rows again where the process that had them has ended.

        Raises:
            RefusedError: they are others now.
        """
        facts = self.facts()
        if not self.worker.running:
            self._prepared = False
            if self._read() != facts.rows:
                # What was approved and charged is another number of rows.
                raise RefusedError("data_set", f"the rows of {self.binding.data_set} have changed within the run")
        return facts

    def prepare(self) -> None:
        """Prepares the run in the process.

        Raises:
            RefusedError: the study does not run here, or the process is at odds with the site's own plan.
        """
        facts = self.ensure_rows()
        if self._prepared:
            return
        told, _ = self.worker.call({"op": "prepare", "study": self.job.study}, deadline_s=_START_S, alive=self.alive)
        noise = None if facts.plan is None else facts.plan.noise_multiplier
        if (told.get("steps"), told.get("noise_multiplier")) != (facts.steps, noise):
            raise RefusedError("program", "the program takes other steps, or other noise, than the study says")
        self._prepared = True

    def check(self, task: Task, inputs: bytes, terms: Terms, ends: float) -> None:
        """Tries all that could refuse a task besides the work itself, which is charged only then.

        Args:
            task: the task.
            inputs: the artefact that it names.
            terms: what the policy lets leave.
            ends: the monotonic time by which it must be done.

        Raises:
            WorkerDiedError: the process ended in the middle, or the time is over.
            RefusedError: the task is refused.
        """
        if task.kind == "describe":
            # Before any code of the study's is loaded.
            self.ensure_rows()
            return
        self.prepare()
        noised = bool(terms.evaluation_noise)
        request = {"op": "check", "kind": task.kind, "work": task.work, "noised": noised}
        self.worker.call(request, [inputs], ends=ends, alive=self.alive)

    def work(
        self, task: Task, inputs: bytes, carried: bytes, terms: Terms, ends: float
    ) -> tuple[dict[str, Any], bytes, bytes | None]:
        """Does a task's work.

        Args:
            task: the task.
            inputs: the artefact that it names.
            carried: what the client kept of its last round.
            terms: what the policy lets leave.
            ends: the monotonic time by which it must be done.

        Returns:
            What is stated, the artefact, and what the client keeps, None where it keeps what it has.

        Raises:
            WorkerDiedError: the process ended in the middle, or the time is over.
            RefusedError: the task is refused.
        """
        if task.kind == "describe":
            # Before any code of the study's is loaded.
            self.ensure_rows()
            request = {"op": "describe", "noise": terms.statistics_noise, "least": terms.least_group}
            values, (counts,) = self.worker.call(request, ends=ends, alive=self.alive)
            return values, counts, None
        self.prepare()
        if task.kind == "train":
            request = {"op": "train", "work": task.work, "round": task.round}
            values, (update, kept) = self.worker.call(request, [inputs, carried], ends=ends, alive=self.alive)
            return values, update, kept or None
        if task.kind == "losses":
            values, _ = self.worker.call({"op": "losses", "work": task.work}, [inputs], ends=ends, alive=self.alive)
            return values, b"", None
        if task.kind == "evaluate":
            if terms.evaluation_noise is None:
                raise RefusedError("policy", "no evaluation on its test rows leaves this site")
            request = {"op": "evaluate", "least_group": terms.least_group, "noise": terms.evaluation_noise}
            values, (sums,) = self.worker.call(request, [inputs], ends=ends, alive=self.alive)
            return values, sums, None
        raise RefusedError("program", f"this version does not {task.kind}")

    def close(self) -> None:
        """Ends the process."""
        self.worker.close()

    def _read(self) -> int:
        request = {
            "op": "read",
            "binding": str(self.binding.path),
            "cut_key": self.binding.cut_key.hex(),
            "data": json.loads(self.job.study)["data"],
            "site": self.site,
            "sites": list(self.job.sites),
        }
        told, _ = self.worker.call(request, deadline_s=_START_S, alive=self.alive)
        return int(told["rows"])


def open_run(
    job: Job,
    study: tuple[Study, SitesData],
    binding: Binding,
    site: str,
    code: UserCode | None,
    terms: Terms,
    log: Log,
) -> RunWork:
    """Opens a run whose messages and study have been checked. Its process starts when it is needed.

    Args:
        job: the run.
        study: the job's study, and its `data` section.
        binding: the rows.
        site: this site.
        code: the study's own code as it is installed here, which was approved, or None where it has none.
        terms: what the policy lets the process use.
        log: takes lines for the owner.

    Raises:
        RefusedError: the study's schema is another than the declared one, or its code has no sandbox to run in.
    """
    check_schema(binding.described.schema, study[1].schema)
    # A function of the owner's own gives the rows: its folder comes first.
    folders: tuple[Path, ...] = binding.paths[:1] if binding.function is not None else ()
    # Of the study's own code the approved files and no others: what lies beside them is the owner's.
    files = () if code is None else tuple(sorted(set(code.files.values())))
    folders += () if code is None else code.folders
    limits = Limits(memory_mb=terms.memory_mb)
    read, private = (binding.path, *binding.paths, *files), study[0].privacy is not None
    worker = Worker(read, limits, code is not None, log, folders, private)
    return RunWork(job, study[0], binding, site, worker)
