"""`accord site`: the owner's commands, on a site's folder."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("uvicorn")

from accord.orchestration.site_study import sent_study
from accord.sites.bindings import bound_rows, read_binding
from accord.sites.folder import CUT_KEY, cut_mark, open_site, read_cut_key
from accord.sites.policy import signature_path
from accord.sites.site_setup import make_site
from accord.sites.verify import read_lines
from accord.transport import server
from accord.transport.enrolment import read_request
from accord.transport.federation_folder import open_coordinator
from accord.transport.identity import load_identity
from accord.transport.keys import public_hex
from accord.transport.messages import Job
from sites.hospitals import Hospitals, study_of, write_hospitals
from transport.federations import Federation, free_port, make

Cli = Callable[..., Any]
RULE: dict[str, Any] = {
    "data_set": "stays",
    "requesters": ["ada"],
    "programs": ["fedavg"],
    "models": ["mlp"],
    "privacy": {"units": ["sample"], "least_noise": 0.8, "most_delta": 1e-3},
    "budget": {"delta": 1e-3, "total": 10.0},
    "leaves": {"evaluation": "exact"},
}


@dataclass
class Owner:
    """A site's owner at a terminal."""

    cli: Cli
    folder: Path
    home: Path
    federation: Federation
    hospitals: Hospitals

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        said = self.cli("site", *arguments, "--folder", self.folder)
        assert said.code == code, said.err
        return str(said.out + said.err)

    def policy(self, **leaves: Any) -> str:
        key = public_hex(self.federation.identities["ada"].key)
        person = {"name": "ada", "organisation": "ada's", "key": key}
        rule = RULE if not leaves else {**RULE, "leaves": leaves}
        (self.home / "terms.yaml").write_text(json.dumps({"requesters": [person], "rules": [rule]}))
        return self("policy", "edit", "--file", self.home / "terms.yaml")

    def asked(self) -> str:
        """Puts a request on the list, as the agent does, and returns its hash."""
        from accord.cli.site_folder import decisions_of

        text = sent_study(study_of(self.hospitals))
        about: Any = ("ab" * 16, text, {}, "ada", "ada's", "to plan beds", ("east", "north"), "2026-01-05T10:00:00Z")
        job = Job(*about)
        decisions_of(open_site(self.folder)).note(job)
        return job.request

    def lines(self, kind: str) -> list[dict[str, Any]]:
        return [line.values for line in read_lines(self.folder) if line.kind == kind]


@pytest.fixture
def owner(cli: Cli, tmp_path: Path) -> Owner:
    federation = make(tmp_path, free_port())
    folder = federation.identities["east"].folder
    folder.chmod(0o700)
    make_site(folder)
    home = tmp_path / "home"
    home.mkdir()
    return Owner(cli, folder, home, federation, write_hospitals(home))


@contextmanager
def served(federation: Federation) -> Iterator[None]:
    """Serves the coordinator from a process of its own: the command line takes this one's standard streams."""
    argv = [sys.executable, "-m", "accord.transport.server", str(federation.folder)]
    with (federation.folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as process:
        try:
            end, url = time.monotonic() + 60, federation.identities["east"].url
            while not server.answers(federation.folder, url):
                assert process.poll() is None, "the service did not start"
                assert time.monotonic() < end
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


def test_each_signature_of_the_policy_has_a_version_that_the_journal_names(owner: Owner) -> None:
    assert "signed as version 2: 1 requesters, rules for stays" in owner.policy()
    assert "signed as version 3" in owner.policy(evaluation={"noise_multiplier": 8.0})
    assert [each["version"] for each in owner.lines("policy")] == [2, 3]
    # Someone puts the signature of before back, or the file is lost: the next one still rises above all that held.
    signature_path(owner.folder / "policy.yaml").write_text("{}")
    owner("verify", code=2)
    assert "signed as version 4" in owner.policy()
    assert "whole" in owner("verify")


def test_what_no_epsilon_covers_is_said_where_the_owner_decides(owner: Owner) -> None:
    owner.policy()
    request = owner.asked()
    exact = "unprotected: exact evaluations on test rows leave"
    assert exact in owner("show", request)
    assert exact in owner("approve", request)
    owner.policy(evaluation={"noise_multiplier": 8.0})
    assert "unprotected" not in owner("show", request)
    assert "unprotected" not in owner("approve", request)


def test_a_decisions_line_names_it_and_the_policy_under_which_it_was_made(owner: Owner) -> None:
    owner.policy()
    request = owner.asked()
    owner("approve", request)
    owner("reject", request, "--reason", "no longer needed")
    first, second = owner.lines("decision")
    assert first["policy"] == second["policy"] == owner.lines("policy")[-1]
    assert first["sha256"] != second["sha256"]
    assert "whole" in owner("verify")


def test_rows_are_cut_by_a_secret_that_the_journal_knows(owner: Owner) -> None:
    binding = owner.hospitals.bindings["east"]
    told = owner("data", "add", "stays", binding)
    assert re.search(r"stays: \d+ training and \d+ test rows here", told)
    secret = read_cut_key(owner.folder)
    assert len(secret) == 32
    assert (owner.folder / CUT_KEY).stat().st_mode & 0o077 == 0
    assert owner.lines("data") == [{"data_set": "stays", "cut": cut_mark(secret)}]
    (bound,) = open_site(owner.folder).bindings().values()
    assert bound.cut_key == secret
    with_it, without = (bound_rows(each, "east").test.x for each in (bound, read_binding(binding)))
    assert with_it.shape != without.shape or not torch.equal(with_it, without)
    assert "whole" in owner("verify")
    (owner.folder / CUT_KEY).unlink()
    assert "not the one under which data was bound" in owner("verify", code=2)


def test_a_new_key_takes_the_policy_and_the_journal_over(owner: Owner) -> None:
    owner.policy()
    request = owner.asked()
    owner("approve", request)
    before = public_hex(load_identity(owner.folder).key)
    written = owner.folder / "east.request.json"
    assert str(written) in owner("renew", "--key")

    with served(owner.federation):
        # Not before the coordinator admits it, and then nothing has changed.
        assert "refuses" in owner("renew", "--take", code=2)
        assert public_hex(load_identity(owner.folder).key) == before
        assert "whole" in owner("verify")

        coordinator, _ = open_coordinator(owner.federation.folder)
        try:
            coordinator.members.admit(read_request(written))
        finally:
            coordinator.tables.close()
        assert "decisions signed with the old one must be made again" in owner("renew", "--take")
        after = public_hex(load_identity(owner.folder).key)
    assert after != before
    assert owner.lines("key") == [{"before": before, "key": after}]
    assert "signed by this site" in owner("policy", "check")
    assert [each["version"] for each in owner.lines("policy")] == [2, 3]
    assert "whole" in owner("verify")
    assert not (owner.folder / "key.next.pem").exists()
    # The agent's records open under the new key, and what was approved is decided again.
    assert f"{request[:12]}  decide again" in owner("requests")
    assert f"requests that wait: {request[:12]}" in owner("status")
    owner("approve", request)
    assert "approved" in owner("requests")
    assert "whole" in owner("verify")


def test_a_key_that_was_not_made_is_not_taken(owner: Owner) -> None:
    owner.policy()
    assert "key.next.pem" in owner("renew", "--take", code=2)
    assert "whole" in owner("verify")
