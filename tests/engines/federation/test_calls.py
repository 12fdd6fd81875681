"""Who is asked: a site that lets a deadline pass is waited for again once it has asked for work since."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from accord.engines.federation.calls import SiteCalls
from accord.transport.exchange import SiteState
from sites.hospitals import SITES, Hospitals, study_of, write_hospitals
from sites.in_memory import job_of


@dataclass
class Silent:
    """An exchange on which no site answers, and a clock."""

    now: float = 100.0
    seen: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def offer(self, tasks: Any, inputs: bytes) -> None:
        self.asked.append(tuple(task.site for task in tasks))

    def wait(self, tasks: Any, quorum: int, deadline_s: float) -> dict[str, Any]:
        self.now += deadline_s
        return {}

    def sites(self) -> list[SiteState]:
        return [SiteState(name, ("stays",), self._ago(name), "") for name in SITES]

    def _ago(self, name: str) -> float | None:
        return self.now - self.seen[name] if name in self.seen else None


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Hospitals:
    return write_hospitals(tmp_path_factory.mktemp("hospitals"))


def test_a_hung_site_costs_one_deadline(hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Silent()
    monkeypatch.setattr("time.monotonic", silent.monotonic)
    run = SiteCalls(silent, job_of(study_of(hospitals)), 10.0)  # type: ignore[arg-type]
    assert run.present(SITES) == list(SITES)
    replies = run.ask("train", ["north"], 1, {"north": 0}, 0, b"")
    assert replies.late == {"north"}
    assert run.present(SITES) == ["east", "west"]
    silent.seen["north"] = 105.0  # before the deadline passed, which was at 110
    assert run.present(SITES) == ["east", "west"]
    silent.now = 130.0
    silent.seen["north"] = 120.0
    assert run.present(SITES) == list(SITES)
    silent.now = 500.0
    assert run.present(SITES) == list(SITES)
