"""A site's own copy of a study's program: the model, and the kinds of client work that the program asks for.

It is built from the approved study and its schema, so that every site and the requester have the same one, and no row
is looked at. What a task names is the number of a work in it.
"""

import re
from dataclasses import dataclass

import numpy as np

from accord.config.schema import Study
from accord.core.errors import AccordError
from accord.core.params import Params
from accord.core.streams import Streams
from accord.data.sources.sites import stand_in
from accord.engines.federation.works import Works, works_of
from accord.orchestration.engine import check_per_sample
from accord.privacy import noise
from accord.privacy.plan import PrivacyPlan
from accord.program import client_work, registry, study_task
from accord.sites.refused import RefusedError
from accord.tasks.task import Task


@dataclass(frozen=True)
class OwnProgram:
    """What a site needs to know of a study's program.

    Attributes:
        task: the model and its loss.
        works: the kinds of client work that the program asks for.
        initial: the model's first parameters.
        plan: the site's own mechanism, or None without privacy.
    """

    task: Task
    works: Works
    initial: Params
    plan: PrivacyPlan | None


def build(study: Study, plan: PrivacyPlan | None, streams: Streams, n: int, population: int) -> OwnProgram:
    """Builds the program.

    Args:
        study: the resolved study, whose `data` is `sites`.
        plan: the site's own mechanism, or None without privacy.
        streams: the run's streams.
        n: the site's training rows.
        population: the number of sites.

    Raises:
        RefusedError: the study does not go together.
    """
    # From the schema, not from the rows: a token that no row has here would make another network.
    data = stand_in(study.data)  # type: ignore[arg-type]
    try:
        task = study_task.make_task(study.model, data, study.seed, study.training)
        if plan is not None:
            study_task.check_stateless(study.model.name, task, data, streams("trial", 0, 0))
            noise.ready()
        work = client_work.make_work(study.training, task, plan, study.program.rounds)
        check_per_sample(work, data.train)
        initial = task.init(work.dtype)
        program = registry.make_program(study, work, np.full(population, n, dtype=np.int64))
        return OwnProgram(task, works_of(program, initial, population), initial, plan)
    except AccordError as error:
        # The study's own fault, found without a look at a row. Paths in it would be of this machine.
        raise RefusedError("program", _without_paths(str(error))) from error


def _without_paths(text: str) -> str:
    """Returns a message on one line, with a word in place of every path.

    >>> _without_paths("cannot import 'nets'; it must be installed or in /home/ada/site")
    "cannot import 'nets'; it must be installed or in (a folder here)"
    """
    return re.sub(r"(?<![\w.])/[\w.~-]+(/[\w.~-]*)*", "(a folder here)", " ".join(text.split()))
