"""Whole runs: a requester, a coordinator's tables, and three agents with processes of their own."""

import json
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import FederationError
from accord.orchestration.make_ready import Reach
from accord.orchestration.runs import run
from accord.sites.agent import Agent
from accord.sites.bindings import read_binding
from accord.transport.exchange import SiteExchange
from accord.transport.federation_folder import open_coordinator
from accord.transport.keys import public_hex, sign
from accord.transport.local_exchange import Bell, LocalRequester, LocalSite
from sites.hospitals import PRIVATE, SITES, Hospitals, study_of
from sites.in_memory import PlainJudge, PlainRecords
from transport.federations import make

pytestmark = pytest.mark.slow


class Federation:
    """Three agents, each in a thread, and what they have of the runs."""

    def __init__(self, folder: Path, hospitals: Hospitals) -> None:
        made = make(folder, 1)
        self.coordinator, _ = open_coordinator(made.folder)
        bell = Bell()
        self.coordinator.changed = bell
        keys = {name: identity.key for name, identity in made.identities.items()}
        self.reach: Reach = (LocalRequester(self.coordinator, bell, "ada", keys["ada"]), ("ada", "lab"))
        self.records = {name: PlainRecords() for name in SITES}
        self.judges = {name: PlainJudge({"ada": public_hex(keys["ada"])}) for name in SITES}
        self.log: list[str] = []
        self._stop = threading.Event()
        self._threads = []
        for name in SITES:
            site = LocalSite(self.coordinator, bell, name)
            site.offer_data(["stays"])
            exchange: SiteExchange = site
            bindings = {"stays": read_binding(hospitals.bindings[name])}
            agent = Agent(
                name,
                exchange,
                self.judges[name],
                self.records[name],
                lambda bindings=bindings: bindings,  # type: ignore[misc]
                partial(sign, keys[name], name),
                self.log.append,
            )
            self._threads.append(threading.Thread(target=agent.run, args=(self._stop.is_set,)))

    def __enter__(self) -> "Federation":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self.coordinator.tables.close()


@pytest.fixture
def federation(tmp_path: Path, hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch) -> Iterator[Federation]:
    # A thread that is told to stop is not to sit out a long poll.
    monkeypatch.setattr("accord.sites.agent._WAIT_S", 0.2)
    with Federation(tmp_path, hospitals) as running:
        yield running


@pytest.fixture
def across(hospitals: Hospitals) -> Callable[..., Study]:
    return lambda **sections: study_of(hospitals, "federation", **sections)


@pytest.mark.parametrize("program", ["scaffold", "qffl"])
def test_a_run_ends_where_the_simulation_ends(
    program: str, federation: Federation, across: Callable[..., Study], hospitals: Hospitals, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {"program": {"name": program, "rounds": 3}}
    found = run(across(**sections), tmp_path / "across", reach=federation.reach)
    there = run(study_of(hospitals, **sections), tmp_path / "there")
    for name, value in there.params.items():
        assert torch.allclose(found.params[name], value, rtol=1e-5, atol=1e-6), name
    own, simulated = (json.loads((tmp_path / each / "result.json").read_text()) for each in ("across", "there"))
    assert own["test"]["n"] == simulated["test"]["n"]
    assert own["test"]["accuracy"] == pytest.approx(simulated["test"]["accuracy"])
    assert all(records.ended(found_run) for records in federation.records.values() for found_run in records.trained)


def test_a_private_run_is_charged_at_each_site_by_its_own_rows(
    federation: Federation, across: Callable[..., Study], tmp_path: Path
) -> None:
    privacy = {**PRIVATE, "delta": 1e-3}
    run(across(privacy=privacy), tmp_path / "run", reach=federation.reach)
    sizes = {"east": 74, "north": 52, "west": 117}
    for name, records in federation.records.items():
        assert [(number, charge.rows) for _, number, _, charge in records.charges] == [
            (number, sizes[name]) for number in (1, 2, 3)
        ]
    told = json.loads((tmp_path / "run" / "result.json").read_text())["privacy"]
    assert told["noise_source"] == "site"
    assert told["epsilon"] == pytest.approx(
        max(each.epsilons(each.charges[-1][3])[0] for each in federation.records.values())
    )


def test_sites_that_refuse_are_named_before_anything_is_trained(
    federation: Federation, across: Callable[..., Study], tmp_path: Path
) -> None:
    federation.judges["north"].refuses = "approval"
    federation.judges["west"].least_rows = 1000
    study = across(program={"name": "fedavg", "rounds": 3, "min_clients": 2})
    refused = r"1 of 3 sites.*north refuses \(approval\).*west refuses \(contributors\)"
    with pytest.raises(FederationError, match=refused):
        run(study, tmp_path / "run", reach=federation.reach)
    assert all(records.trained == {} for records in federation.records.values())
