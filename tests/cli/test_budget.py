"""`accord budget` reproduces the published figures, and answers each question in one call."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

# REFERENCES section 1, every row: RDP, add/remove, Poisson, q = batch/n, steps = epochs * ceil(n/batch). The
# sources converted by Mironov 2017 at TensorFlow Privacy's orders of the time, which is accountant rdp2017.
ROWS = [
    (23_999, 32, 1.5, 60, "1e-6", 1.147, 0.0005),
    (24_000, 32, 0.7, 60, "1e-6", 4.98, 0.005),
    (24_000, 32, 0.5, 60, "1e-6", 16.2, 0.06),
    (60_000, 250, 1.3, 1, "1/60000", 0.685, 0.0005),
    (60_000, 250, 1.3, 15, "1/60000", 1.148, 0.0005),
    (60_000, 250, 1.3, 60, "1/60000", 2.255, 0.0005),
    (60_000, 256, 1.12, 60, "1e-5", 2.92, 0.01),
]


@pytest.mark.parametrize(("n", "batch", "noise", "epochs", "delta", "published", "within"), ROWS)
def test_published_epsilon(
    cli: Cli, n: int, batch: int, noise: float, epochs: int, delta: str, published: float, within: float
) -> None:
    plan = ["--n", n, "--batch", batch, "--noise", noise, "--epochs", epochs, "--delta", delta, "--json"]
    said = cli("budget", *plan, "--accountant", "rdp2017")
    assert said.code == 0
    values = json.loads(said.out)
    assert values["epsilon"] == values["epsilons"]["rdp2017"]
    assert abs(values["epsilon"] - published) <= within
    assert 0 < values["epsilons"]["pld"] <= values["epsilons"]["rdp"] <= values["epsilon"]


def test_the_answer_comes_first(cli: Cli) -> None:
    said = cli("budget", "--n", 60000, "--batch", 256, "--noise", 1.12, "--epochs", 60, "--delta", "1e-5")
    assert said.code == 0
    assert "2.522" in said.out.splitlines()[0]
    assert "2.926" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_noise_for_a_target(cli: Cli) -> None:
    options = ["--n", 60000, "--batch", 256, "--epochs", 60, "--delta", "1e-5", "--json"]
    values = json.loads(cli("budget", *options, "--epsilon", 2.5223).out)
    assert values["noise_multiplier"] == pytest.approx(1.12, abs=0.001)


def test_rounds_left(cli: Cli) -> None:
    options = ["--n", 600, "--batch", 60, "--noise", 2.0, "--epsilon", 3, "--delta", "1e-5", "--steps-per-round", 10]
    fresh = json.loads(cli("budget", *options, "--json").out)
    spent = json.loads(cli("budget", *options, "--steps", 30, "--json").out)
    assert fresh["rounds_left"] - spent["rounds_left"] == 3
    assert "rounds left" in cli("budget", *options).out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--noise", "1"], "give --epochs or --steps"),
        (["--noise", "1", "--epochs", "1", "--steps", "2"], "not both"),
        (["--noise", "1", "--epochs", "1", "--delta", "tiny"], "neither a number nor a fraction"),
        (["--noise", "1", "--epochs", "1", "--delta", "0.5"], "must be below 1/n"),
        (["--noise", "0", "--epochs", "1"], "noise_multiplier must be > 0"),
        (["--noise", "1", "--epochs", "1", "--unit", "rows"], "unknown privacy unit"),
        (["--noise", "1", "--epochs", "0"], "epochs"),
        (["--noise", "x", "--epochs", "1"], "noise"),
        (["--epsilon", "-1", "--epochs", "1"], "budget must be > 0"),
    ],
)
def test_bad_questions_are_one_line_and_exit_2(cli: Cli, options: list[str], message: str) -> None:
    said = cli("budget", "--n", 1000, "--batch", 10, "--delta", "1e-5", *options)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert message in said.err


def test_what_is_missing_is_named(cli: Cli) -> None:
    said = cli("budget", "--batch", 10, "--delta", "1e-5")
    assert said.code == 2
    assert "--n" in said.err


def test_delta_of_one_over_n_is_cautioned(cli: Cli) -> None:
    said = cli("budget", "--n", 1000, "--batch", 10, "--noise", 1, "--epochs", 1, "--delta", "1/1000")
    assert said.code == 0
    assert said.err.startswith("accord: caution: delta is 1/n")


@pytest.mark.parametrize(
    "options",
    [
        ["--noise", "0.05", "--epochs", "60"],
        ["--noise", "0.01", "--epochs", "60"],
        ["--epsilon", "1e6", "--epochs", "1"],
    ],
)
def test_a_loss_distribution_that_would_eat_the_machine_is_not_computed(cli: Cli, options: list[str]) -> None:
    said = cli("budget", "--n", 60000, "--batch", 256, "--delta", "1e-5", *options, "--json")
    assert said.code == 0
    assert json.loads(said.out)["epsilons"]["pld"] is None


@pytest.mark.parametrize("noise", ["1e-300", "1e-9", "1e300"])
def test_noise_no_accountant_can_take_is_one_line(cli: Cli, noise: str) -> None:
    said = cli("budget", "--n", 60000, "--batch", 256, "--delta", "1e-5", "--epochs", 1, "--noise", noise)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1


# --- joint ledgers ------------------------------------------------------------------------------------


def test_what_the_runs_on_a_ledger_charged(cli: Cli, study_file: Callable[..., Path], tmp_path: Path) -> None:
    study = study_file(privacy={"unit": "sample", "noise_multiplier": 2.0, "delta": 1e-4})
    for name, noise in (("a", 2), ("b", 3)):
        run = ["run", study, "--set", f"privacy.noise_multiplier={noise}", "--out", name, "--ledger", "adult.ledger"]
        assert cli(*run).code == 0
    told = json.loads(cli("budget", "--ledger", "adult.ledger", "--json").out)
    result = json.loads((tmp_path / "b" / "result.json").read_text())
    assert told["epsilon"] == result["privacy"]["epsilon"]
    assert told["per_client"] == result["privacy"]["per_client"]
    assert (told["ledger"], told["population"], told["delta"], told["accountant"]) == ("adult.ledger", 6, 1e-4, "rdp")
    assert [(run["rounds"], run["noise_multiplier"]) for run in told["runs"]] == [(4, 2.0), (4, 3.0)]
    assert told["runs"][1]["epsilon"] == result["privacy"]["joint"]["own"]["max"]
    said = cli("budget", "--ledger", "adult.ledger")
    assert said.code == 0
    assert f"{told['epsilon']:.4g}, client 0" in said.out.splitlines()[0]
    assert "run 2, study" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    tighter = json.loads(
        cli("budget", "--ledger", "adult.ledger", "--delta", "1/1000", "--accountant", "pld", "--json").out
    )
    assert tighter["epsilon"] < told["epsilon"]


def test_a_ledger_is_verified_and_checked_against_run_folders(
    cli: Cli, study_file: Callable[..., Path], tmp_path: Path
) -> None:
    study = study_file(privacy={"unit": "sample", "noise_multiplier": 2.0, "delta": 1e-4})
    for name in ("a", "b"):
        assert cli("run", study, "--out", name, "--ledger", "j").code == 0
    both = ("budget", "--ledger", "j", "--against", "a", "--against", "b")
    told = json.loads(cli(*both, "--json").out)
    noted = json.loads((tmp_path / "b" / "result.json").read_text())["privacy"]["joint"]
    assert told["chain"] == {"lines": 12, "head": noted["head"], "against": ["a", "b"]}
    assert [run["closed"] for run in told["runs"]] == [True, True]
    said = " ".join(cli(*both).out.split())
    assert "12 lines, each follows on the one before, holds what a, b noted" in said
    assert "has not ended" not in said
    lines = (tmp_path / "j").read_text().splitlines(keepends=True)
    (tmp_path / "j").write_text("".join(lines[:-1]))  # the line that closes run b
    cut = cli("budget", "--ledger", "j")
    assert "has not ended: under way, interrupted, or lines were lost" in " ".join(cut.out.split())
    assert "Lost runs at its end do not show: check with --against RUN" in " ".join(cut.out.split())
    assert cut.err.startswith("accord: caution: ledger j: run 2 has no closing line, so epsilon may be more than this")
    assert len(cut.err.splitlines()) == 1
    assert cli("budget", "--ledger", "j", "--against", "a").code == 0
    lost = cli(*both)
    assert (lost.code, lost.out) == (2, "")
    assert "was its last when run b noted it: lines were lost" in lost.err
    (tmp_path / "j").write_text("".join(lines).replace('"noise_multiplier":2.0', '"noise_multiplier":20.0'))
    edited = cli("budget", "--ledger", "j")
    assert (edited.code, edited.out, len(edited.err.splitlines())) == (2, "", 1)
    assert "ledger j, line 2: broken chain" in edited.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ledger", "nowhere"], "ledger nowhere: no such file"),
        (["--ledger", "study.yaml"], "study.yaml, line 1: not a JSON object"),
        (["--ledger", "empty"], "ledger empty: no run has charged it"),
        (["--ledger", "adult.ledger", "--n", "5"], "give it with --delta, --accountant, --against at most"),
        (["--ledger", "adult.ledger", "--against", "nowhere"], "nowhere: notes no joint ledger"),
        (["--against", "a"], "--against checks a joint ledger; give it with --ledger FILE"),
        (["--ledger", "adult.ledger", "--delta", "0.5"], "must be below 1/n"),
        (["--ledger", "adult.ledger", "--delta", "2"], "delta must lie strictly between 0 and 1"),
        (["--ledger", "adult.ledger", "--accountant", "moments"], "unknown privacy accountant"),
        ([], "give --n, --batch and --delta, or --ledger FILE"),
    ],
)
def test_bad_questions_about_a_ledger_are_one_line(
    cli: Cli, study_file: Callable[..., Path], tmp_path: Path, options: list[str], message: str
) -> None:
    study = study_file(privacy={"unit": "sample", "noise_multiplier": 2.0, "delta": 1e-4})
    assert cli("run", study, "--set", "program.rounds=1", "--out", "a", "--ledger", "adult.ledger").code == 0
    (tmp_path / "empty").touch()
    said = cli("budget", *options)
    assert said.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    assert message in said.err
