"""Real processes, killed at every stage of a run, out of disk, and for a thousand rounds."""

import itertools
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.config.engine import FederationEngine
from accord.orchestration.runs import run
from accord.records.round_record import RoundRecord
from accord.sites.agent_process import READY
from accord.sites.folder import open_site
from accord.sites.records import SiteRecords
from accord.sites.verify import verify_site
from accord.transport import server
from accord.transport.https_exchange import HttpsRequester
from accord.transport.keys import public_hex
from accord.transport.tables import Tables, check_journal, sqlite_url
from sites.hospitals import PRIVATE, SITES, Hospitals, study_of
from sites.test_serve import furnish, offered
from transport.federations import Federation, free_port, make

pytestmark = pytest.mark.slow

ROUNDS = 60
KILLS = 26
"""Kills of each of the two runs."""
VICTIMS = ("coordinator", "agent", "worker")
STAGES = (*itertools.product(VICTIMS, ("offer", "lease", "answer")), ("coordinator", "collect"))
"""Who is killed, and after which line of the coordinator's journal."""


class Processes:
    """A coordinator and its sites' agents, each a process that may be killed and started anew."""

    def __init__(self, federation: Federation) -> None:
        self.folders = {"coordinator": federation.folder} | {name: federation.identities[name].folder for name in SITES}
        self.url = federation.identities["ada"].url
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, most_file: int | None = None) -> None:
        """Starts a process, whose files are no longer than `most_file` bytes, and waits until it works."""
        folder = self.folders[name]
        module = "accord.transport.server" if name == "coordinator" else "accord.sites.serve"
        (folder / READY).unlink(missing_ok=True)

        def full() -> None:
            # Python ignores SIGXFSZ, so a write past the limit fails as one on a full disk does.
            if most_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_file, most_file))

        process = subprocess.Popen([sys.executable, "-m", module, str(folder)], preexec_fn=full)
        self.running[name] = process
        ready: Callable[[], bool] = (folder / READY).exists
        if name == "coordinator":
            ready = lambda: server.answers(folder, self.url)  # noqa: E731
        end = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, f"{name} did not start"
            assert time.monotonic() < end
            time.sleep(0.02)

    def kill(self, name: str) -> None:
        self.running[name].kill()
        self.running[name].wait()

    def kill_worker(self, name: str) -> bool:
        """Kills the process that does a site's work. Returns whether there was one."""
        workers = children(self.running[name].pid)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        return bool(workers)

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(30)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def innermost(pid: int) -> int:
    """The process within the sandbox's own."""
    while own := children(pid):
        pid = own[-1]
    return pid


def memory_mb(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


@pytest.fixture
def federation(tmp_path: Path, hospitals: Hospitals) -> Federation:
    made = make(tmp_path, free_port())
    furnish(made, hospitals)
    return made


@pytest.fixture
def processes(federation: Federation) -> Iterator[Processes]:
    made = Processes(federation)
    try:
        for name in made.folders:
            made.start(name)
        yield made
    finally:
        made.stop()


@pytest.fixture
def requester(federation: Federation, processes: Processes) -> Iterator[HttpsRequester]:
    made = HttpsRequester(federation.identities["ada"])
    offered(made)
    yield made
    made.close()


class Killer:
    """Kills one process after another, each at a stage of the run that the coordinator's journal shows."""

    def __init__(self, processes: Processes) -> None:
        self.kills: list[tuple[str, str]] = []
        self.done = threading.Event()
        self._processes = processes
        self._rng = random.Random(3)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.done.set()
        self._thread.join(60)

    def _run(self) -> None:
        for victim, stage in itertools.islice(itertools.cycle(STAGES), KILLS):
            if not self._reached(stage):
                return
            time.sleep(self._rng.uniform(0, 0.05))
            if victim == "coordinator":
                self._processes.kill(victim)
                self._processes.start(victim)
            else:
                name = self._rng.choice(SITES)
                if victim == "agent":
                    self._processes.kill(name)
                    self._processes.start(name)
                elif not self._processes.kill_worker(name):
                    continue
            self.kills.append((victim, stage))

    def _reached(self, stage: str) -> bool:
        """Waits for the next line of a stage in the journal. Returns whether one came before the run's end."""
        path = self._processes.folders["coordinator"] / "federation.db"
        journal = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            newest = journal.execute("SELECT max(number) FROM journal").fetchone()[0]
            query = "SELECT 1 FROM journal WHERE number > ? AND action = ?"
            while journal.execute(query, (newest, stage)).fetchone() is None:
                if self.done.wait(0.002):
                    return False
        finally:
            journal.close()
        return True


@pytest.mark.parametrize("private", [False, True])
def test_kills_at_every_stage_lose_no_round_and_charge_none_twice(
    private: bool,
    federation: Federation,
    processes: Processes,
    requester: HttpsRequester,
    hospitals: Hospitals,
    tmp_path: Path,
) -> None:
    sections: dict[str, Any] = {
        "program": {"name": "fedavg" if private else "scaffold", "rounds": ROUNDS, "min_clients": 3},
        "privacy": {**PRIVATE, "delta": 1e-3} if private else None,
        # What a round's artefacts leave is collected once a checkpoint makes them dispensable.
        "evaluation": {"checkpoint_every": 1},
    }
    study = study_of(hospitals, "federation", **sections)
    with Killer(processes) as killer:
        found = run(study, tmp_path / "killed", reach=(requester, ("ada", "ada's")))
    assert len(killer.kills) >= KILLS - 2, killer.kills
    assert {victim for victim, _ in killer.kills} == set(VICTIMS)
    lines = [json.loads(line) for line in (tmp_path / "killed" / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == list(range(1, ROUNDS + 1))
    if not private:
        # The same bits as of a run that nobody disturbs.
        again = run(study, tmp_path / "undisturbed", reach=(requester, ("ada", "ada's")))
        for key, value in again.params.items():
            assert torch.equal(found.params[key], value), key
    processes.stop()
    check_books(processes, ROUNDS, private, runs=1 if private else 2)


def check_books(processes: Processes, rounds: int, private: bool, runs: int) -> None:
    """Each site charged each round once, and all journals are whole."""
    tables = Tables(sqlite_url(processes.folders["coordinator"] / "federation.db"))
    check_journal(tables)
    tables.close()
    for name in SITES:
        folder = open_site(processes.folders[name])
        key = folder.identity.key
        verify_site(folder.path, name, public_hex(key), folder.identity.coordinator_key)
        records = SiteRecords(folder.records, name, key, lambda job, data_set: None)
        query = "SELECT round, call, plan != '' FROM charge ORDER BY round"
        charged = records._database.execute(query).fetchall()
        records.close()
        assert charged == [(number, 0, int(private)) for number in range(1, rounds + 1) for _ in range(runs)]


def test_a_full_disk_at_a_site_charges_nothing_twice_and_the_site_returns(
    processes: Processes, requester: HttpsRequester, hospitals: Hospitals, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "program": {"name": "fedavg", "rounds": 12, "min_clients": 2},
        "privacy": {**PRIVATE, "delta": 1e-3},
    }
    processes.kill("north")
    records = open_site(processes.folders["north"]).records
    size = max(path.stat().st_size for path in records.parent.glob(f"{records.name}*"))
    # Room for a few rounds, and then none.
    processes.start("north", most_file=size + 60_000)
    returned = threading.Event()

    def on_round(stage: str, record: RoundRecord, planned: int) -> None:
        if record.round == 9:
            processes.kill("north")
            processes.start("north")
            returned.set()

    study = study_of(hospitals, "federation", **sections)
    study = study.model_copy(update={"engine": FederationEngine(name="federation", deadline_s=25.0)})
    done = run(study, tmp_path / "run", reach=(requester, ("ada", "ada's")), on_round=on_round)
    assert returned.is_set()
    log = (processes.folders["north"] / "agent.log").read_text()
    assert "disk" in log
    cohorts = [len(record.clients) for record in done.rounds]
    assert cohorts[0] == 3
    assert 2 in cohorts
    assert cohorts[-1] == 3
    processes.stop()


def test_a_thousand_rounds_take_no_more_memory_than_two_hundred(
    processes: Processes, requester: HttpsRequester, hospitals: Hospitals, tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "model": {"name": "mlp", "hidden": [64]},
        "training": {"local_steps": 1, "batch_size": 16, "learning_rate": 0.1},
        "program": {"name": "fedavg", "rounds": 1000},
        "privacy": {**PRIVATE, "delta": 1e-3, "noise_multiplier": 8.0},  # so that the budget is enough
        "evaluation": {"every": 1000},
        "trackers": [],
    }
    used: dict[int, dict[str, float]] = {}

    def on_round(stage: str, record: RoundRecord, planned: int) -> None:
        if record.round in (200, 1000):
            pids = {name: process.pid for name, process in processes.running.items()}
            pids |= {f"worker of {name}": innermost(pids[name]) for name in SITES}
            used[record.round] = {name: memory_mb(pid) for name, pid in pids.items()}
            used[record.round]["requester"] = memory_mb(os.getpid())

    study = study_of(hospitals, "federation", **sections)
    run(study, tmp_path / "run", reach=(requester, ("ada", "ada's")), on_round=on_round)
    print(used)  # shown where it fails
    for name, before in used[200].items():
        assert used[1000][name] - before < 8, (name, used)
    held = [path for path in (processes.folders["coordinator"] / "artefacts").rglob("*") if path.is_file()]
    assert len(held) < 300
    processes.stop()
    check_books(processes, 1000, private=True, runs=1)
