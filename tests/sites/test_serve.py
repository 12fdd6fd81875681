"""Real processes: a coordinator over HTTPS, three agents of site folders with signed policies, and kills."""

import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.core.errors import FederationError
from accord.orchestration.runs import run
from accord.sites.folder import open_site
from accord.sites.policy import sign_policy
from accord.sites.records import SiteRecords
from accord.sites.serve import open_agent
from accord.sites.verify import verify_site
from accord.transport.https_exchange import HttpsRequester
from accord.transport.keys import public_hex
from sites.hospitals import PRIVATE, SITES, Hospitals, study_of
from transport.federations import Federation, free_port, make, serving

pytestmark = pytest.mark.slow

POLICY = """
requesters:
  - {{name: ada, organisation: "ada's", key: {key}}}
rules:
  - data_set: stays
    requesters: [ada]
    programs: [fedavg, scaffold]
    models: [mlp]
    settings: {{model.hidden: {{most: 64}}}}
    approval: rule
    unprotected: true
    privacy: {{least_noise: 0.5, most_delta: 0.01}}
    budget: {{delta: 0.001, total: 100}}
    leaves: {{evaluation: exact, least_group: 1, rows_rounded_to: 1}}
"""


class Sites:
    """The agents' processes, which are started anew when they were killed."""

    def __init__(self, federation: Federation) -> None:
        self.folders = {name: federation.identities[name].folder for name in SITES}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        command = [sys.executable, "-m", "accord.sites.serve", str(self.folders[name])]
        self.processes[name] = subprocess.Popen(command)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            process.wait(30)


def furnish(made: Federation, hospitals: Hospitals) -> None:
    """Gives each site its rows and a signed policy."""
    policy = POLICY.format(key=public_hex(made.identities["ada"].key))
    for name in SITES:
        folder = made.identities[name].folder
        folder.chmod(0o700)
        (folder / "data").mkdir()
        shutil.copy(hospitals.bindings[name].parent / "export.csv", folder / "data")
        shutil.copy(hospitals.bindings[name], folder / "data" / "stays.yaml")
        (folder / "policy.yaml").write_text(policy)
        sign_policy(folder / "policy.yaml", made.identities[name].key)


@pytest.fixture
def federation(tmp_path: Path, hospitals: Hospitals) -> Iterator[Federation]:
    made = make(tmp_path, free_port())
    furnish(made, hospitals)
    with serving(made.folder):
        yield made


@pytest.fixture
def sites(federation: Federation) -> Iterator[Sites]:
    made = Sites(federation)
    for name in SITES:
        made.start(name)
    yield made
    made.stop()


def offered(requester: HttpsRequester) -> None:
    end = time.monotonic() + 60
    while sum("stays" in state.data_sets for state in requester.sites()) < len(SITES):
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("private", [False, True])
def test_agents_that_are_killed_lose_no_round_and_charge_none_twice(
    private: bool, federation: Federation, sites: Sites, hospitals: Hospitals, tmp_path: Path
) -> None:
    rounds = 8
    sections: dict[str, Any] = {
        "program": {"name": "fedavg" if private else "scaffold", "rounds": rounds, "min_clients": 3},
        "privacy": {**PRIVATE, "delta": 1e-3} if private else None,
    }
    requester = HttpsRequester(federation.identities["ada"])
    offered(requester)
    done, kills, rng = threading.Event(), 0, random.Random(3)

    def kill() -> None:
        """After each round some site, at any stage of the next one."""
        nonlocal kills
        path = tmp_path / "across" / "rounds.jsonl"
        while not done.wait(0.01):
            if path.exists() and path.read_text().count("\n") > kills:
                time.sleep(rng.uniform(0, 0.08))
                name = rng.choice(SITES)
                sites.kill(name)
                sites.start(name)
                kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        study = study_of(hospitals, "federation", **sections)
        found = run(study, tmp_path / "across", reach=(requester, ("ada", "ada's")))
    finally:
        done.set()
        killer.join()
    requester.close()
    sites.stop()
    assert kills >= rounds - 1
    for name in SITES:
        folder = open_site(sites.folders[name])
        key = folder.identity.key
        verify_site(folder.path, name, public_hex(key), folder.identity.coordinator_key)
        records = SiteRecords(folder.records, name, key, lambda job, data_set: None)
        charged = records._database.execute("SELECT round, call, plan != '' FROM charge ORDER BY round").fetchall()
        records.close()
        assert charged == [(number, 0, int(private)) for number in range(1, rounds + 1)]
    lines = [json.loads(line) for line in (tmp_path / "across" / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, rounds + 1))
    if not private:
        there = run(study_of(hospitals, **sections), tmp_path / "there")
        for key_name, value in there.params.items():
            assert torch.allclose(found.params[key_name], value, rtol=1e-4, atol=1e-5), key_name


def test_one_agent_a_folder(federation: Federation) -> None:
    folder = open_site(federation.identities["north"].folder)
    with open_agent(folder), pytest.raises(FederationError, match="runs here already"), open_agent(folder):
        pass
    with open_agent(folder):
        assert (folder.path / "agent.lock").stat().st_mode & 0o077 == 0
