"""Statistics of sites add up, and what one of them withheld is unknown in the total, too."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import FederationError
from accord.engines.federation.encoding import encode
from accord.orchestration.site_statistics import describe_rows
from accord.transport.exchange import Outcome, SiteState
from accord.transport.messages import Answer, Job, Refusal, Signed, Task

SCHEMA = {
    "target": "back",
    "ranges": {"age": [18, 100], "since": [2000, 2001]},
    "dates": {"since": "year-month-day"},
    "categories": {"back": ["no", "yes"], "sex": ["f", "m"]},
    "groups": ["sex"],
}
COUNTS = {
    "east": {
        "n": [90.2],
        "group/sex": [50.0, 40.4],
        "labels": [60.0, 30.0],
        "column/age": [45.0, 45.0],
        "missing/age": [88.0, 2.0],
        "column/sex": [50.0, 40.0],
        "column/since": [60.0, 30.0],
    },
    "west": {
        "n": [150.4],
        "group/sex": [150.0, -1.0],
        "labels": [100.0, 50.0],
        "column/age": [75.0, 75.0],
        "missing/age": [150.0, -1.0],
        "column/sex": [150.0, 0.0],
        "column/since": [40.0, 110.0],
    },
}


class Telling:
    """Three sites, of which one refuses."""

    def __init__(self, refusing: Sequence[str] = ("north",)) -> None:
        self.refusing = refusing
        self.asked: list[Task] = []

    def sites(self) -> Sequence[SiteState]:
        return [SiteState(name, ("stays",), 0.0, "") for name in ("east", "north", "west")]

    def submit(self, job: Job) -> Signed[Job]:
        return Signed(job, job.requester, "")

    def offer(self, tasks: Sequence[Task], inputs: bytes = b"") -> None:
        self.asked += tasks

    def wait(self, tasks: Sequence[Task], quorum: int, deadline_s: float) -> Mapping[str, Outcome]:
        return {task.site: self._outcome(task) for task in tasks}

    def _outcome(self, task: Task) -> Outcome:
        head = (task.digest(), task.site, task.run, task.round, task.call)
        if task.site in self.refusing:
            return Signed(Refusal(*head, "policy", "statistics do not leave", 1, ""), task.site, "")
        digest = sha256(self._content(task.site)).hexdigest()
        return Signed(Answer(*head, task.kind, digest, {"noise_multiplier": 4.0}, 0.7, 1, ""), task.site, "")

    def _content(self, site: str) -> bytes:
        return encode({name: torch.tensor(values, dtype=torch.float64) for name, values in COUNTS[site].items()})

    def fetch(self, digest: str) -> bytes:
        return next(self._content(site) for site in COUNTS if sha256(self._content(site)).hexdigest() == digest)

    def collect(self, run: str, through_round: int) -> None:
        return None


def study() -> Study:
    data = {"name": "sites", "data_set": "stays", "schema": SCHEMA}
    return Study(data=data, engine={"name": "federation"})


def test_counts_add_up_by_name() -> None:
    sites = Telling()
    told = describe_rows(study(), sites, ("ada", "lab"))
    assert told["total"]["n"] == [240.6]
    assert told["total"]["labels"] == {"no": 160.0, "yes": 80.0}
    assert told["total"]["group/sex"] == {"f": 200.0, "m": None}
    assert told["total"]["column/age"] == [120.0, 120.0]
    assert told["total"]["missing/age"] == {"there": 238.0, "missing": None}
    assert told["total"]["column/sex"] == {"f": 200.0, "m": 40.0}
    assert told["total"]["column/since"] == {"2000": 100.0, "2001": 140.0}
    assert told["sites"]["east"]["epsilon"] == 0.7
    assert told["sites"]["north"] == {"refused": "north refuses (policy): statistics do not leave"}
    assert {(task.kind, task.round, task.call) for task in sites.asked} == {("describe", 0, 1)}


def test_where_every_site_refuses_each_reason_is_told() -> None:
    with pytest.raises(FederationError, match=r"east refuses .*; north refuses .*; west refuses"):
        describe_rows(study(), Telling(("east", "north", "west")), ("ada", "lab"))
