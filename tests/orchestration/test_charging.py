"""A run's accounts: opened on what runs before it charged, charged before each round, on the disk before its work."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.config.schema import Study
from accord.core.errors import RunFolderError, StudyError
from accord.core.streams import NOISE, bind
from accord.data.federated import FederatedData
from accord.orchestration.charging import (
    Accounts,
    add_rows,
    charge,
    check_ledger,
    check_taken_up,
    holdings_digest,
    open_accounts,
    paid,
)
from accord.orchestration.prepare import prepare
from accord.privacy.ledger import Ledger
from accord.program.build import make_plan
from accord.records.ledger_file import locked, read

SAMPLE = {"unit": "sample", "epsilon": 4.0, "delta": 1e-4}
Small = Callable[..., Study]


@pytest.fixture
def opened(small_study: Small, federation: Callable[..., FederatedData], tmp_path: Path) -> Callable[..., Accounts]:
    """Opens the accounts of a run on the ledger `j`, and writes its header; sections replace the study's."""

    def opens(run: str | None = None, **sections: Any) -> Accounts:
        study = small_study(**({"privacy": SAMPLE} | sections))
        with locked(tmp_path / "j", run) as joint:
            accounts = open_accounts(study, "study", federation([40, 60, 90]), "print", joint)
            assert accounts.entry is not None
            accounts.entry.begin()
            return accounts

    return opens


def test_without_a_joint_ledger_accounts_are_the_studys_own(
    small_study: Small, federation: Callable[..., FederatedData]
) -> None:
    study, federated = small_study(privacy=SAMPLE), federation([40, 60, 90])
    accounts = open_accounts(study, "study", federated, "print")
    assert accounts.fingerprint == "print"
    assert accounts.entry is None
    assert accounts.plan == make_plan(study, federated.train.sizes(), bind(0, "print"))
    assert accounts.ledger is not None
    assert (accounts.ledger.sizes.tolist(), accounts.ledger.before) == ([40, 60, 90], ())
    for purpose in ("rows", NOISE):
        assert accounts.streams(purpose, 1, 0).random() == bind(0, "print")(purpose, 1, 0).random()
    public = open_accounts(small_study(), "study", federated, "print")
    assert (public.plan, public.ledger) == (None, None)


def test_the_second_run_begins_with_what_the_first_charged(opened: Callable[..., Accounts], tmp_path: Path) -> None:
    first = opened()
    assert first.ledger is not None
    charge(first.entry, tmp_path, first.ledger, [0, 1, 2], {0: 4, 2: 9}, 1)
    second = opened()
    assert second.plan is not None
    assert second.ledger is not None
    assert [(each.plan.noise_multiplier, each.steps.tolist()) for each in second.ledger.before] == [
        (first.plan.noise_multiplier if first.plan else None, [4, 0, 9])
    ]
    assert second.plan.noise_multiplier > first.plan.noise_multiplier  # type: ignore[union-attr]
    assert second.fingerprint != first.fingerprint
    for purpose in ("rows", "cohort", NOISE):
        draws = {
            float(streams(purpose, 1, 0).random()) for streams in (first.streams, second.streams, bind(0, "print"))
        }
        assert len(draws) == 3, purpose


def test_a_run_taken_up_has_its_noise_and_what_others_charged_since(
    opened: Callable[..., Accounts], tmp_path: Path
) -> None:
    first = opened()
    assert first.entry is not None
    assert first.ledger is not None
    ledger = charge(first.entry, tmp_path, first.ledger, [0, 1], {0: 4, 1: 6}, 1)
    other = opened(privacy=SAMPLE | {"epsilon": 6.0})
    charge(other.entry, tmp_path, other.ledger, [2], {2: 9}, 1)
    again = opened(first.entry.run)
    assert (again.plan, again.fingerprint) == (first.plan, first.fingerprint)
    assert again.ledger is not None
    assert [each.steps.tolist() for each in again.ledger.before] == [[0, 0, 9]]
    assert paid(again.entry, {0: 4, 1: 6, 2: 9}, 1) == (0, 1)
    assert paid(again.entry, {0: 4}, 2) is None
    assert paid(None, {0: 4}, 1) is None
    before = (tmp_path / "j").read_bytes()
    redone = charge(again.entry, tmp_path, again.ledger, [0, 1], {0: 4, 1: 6}, 1)
    assert (tmp_path / "j").read_bytes() == before
    assert redone is not None
    assert ledger is not None
    assert redone.steps.tolist() == ledger.steps.tolist()
    for due in ({0: 4, 1: 7}, {0: 4}):
        with pytest.raises(RunFolderError, match=r"round 1 of run .* was changed"):
            paid(again.entry, due, 1)
    check_taken_up(again.entry, 1, redone.steps)
    check_taken_up(None, 1, redone.steps)
    with pytest.raises(RunFolderError, match="does not have what this run charged up to round 1"):
        check_taken_up(again.entry, 1, redone.steps + 1)


def test_a_charge_is_in_both_ledgers_before_it_is_told(opened: Callable[..., Accounts], tmp_path: Path) -> None:
    accounts = opened()
    assert accounts.ledger is not None
    charged = charge(accounts.entry, tmp_path, accounts.ledger, [0, 1, 2], {0: 4, 2: 9}, 1)
    assert charged is not None
    assert read(tmp_path / "j")[0].rounds == ({0: 4, 2: 9},)
    line = json.loads((tmp_path / "ledger.jsonl").read_text())
    spent = {"0": charged.epsilons()[0], "2": charged.epsilons()[2]}
    assert line == {
        "round": 1, "clients": [0, 2], "refused": [1], "steps": [4, 9], "epsilon": spent, "own": spent,
    }  # fmt: skip


def test_an_own_ledger_is_written_as_ever(small_study: Small, tmp_path: Path) -> None:
    ledger = Ledger.open(make_plan(small_study(privacy=SAMPLE), np.array([50, 50]), bind(0)), [50, 50])  # type: ignore[arg-type]
    charged = charge(None, tmp_path, ledger, [0, 1], {1: 5}, 1)
    assert charged is not None
    line = json.loads((tmp_path / "ledger.jsonl").read_text())
    assert line == {"round": 1, "clients": [1], "refused": [0], "steps": [5], "epsilon": {"1": charged.epsilons()[1]}}
    assert charge(None, tmp_path, None, [0], {0: 5}, 2) is None


def test_what_no_epsilon_covers_is_refused(small_study: Small) -> None:
    for study in (small_study(), small_study(privacy=SAMPLE, evaluation={"twin": True})):
        with pytest.raises(StudyError, match="--ledger j: "):
            check_ledger(study, Path("j"))
    check_ledger(small_study(privacy=SAMPLE), Path("j"))


def test_holdings_are_rows_and_holders_and_nothing_of_the_study(
    federation: Callable[..., FederatedData], small_study: Small
) -> None:
    digest = holdings_digest(federation([10, 20]))
    assert digest == holdings_digest(federation([10, 20]))
    assert len({digest, holdings_digest(federation([20, 10])), holdings_digest(federation([10, 20], seed=1))}) == 3
    plain, other = (
        prepare(small_study(**more)) for more in ({}, {"training": {"learning_rate": 9.0, "batch_size": 2}})
    )
    assert holdings_digest(plain.federated) == holdings_digest(other.federated)
    by_hand = hashlib.blake2b(digest_size=16)
    add_rows(by_hand, plain.federated)
    assert by_hand.hexdigest() == holdings_digest(plain.federated)
