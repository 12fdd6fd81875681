"""Several runs on one data set and one ledger: what they cost together, what is refused, and runs taken up again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

import accord
from accord.config.schema import Study
from accord.core.errors import PrivacyError, RunFolderError, StudyError
from accord.privacy.joint_ledger import summary
from accord.records.ledger_file import check_heads, locked, noted_head, read

Small = Callable[..., Study]
DELTA = 1e-4
LINEAR = {"name": "linear", "num_partitions": 6}


def sample(**changes: Any) -> dict[str, Any]:
    return {"unit": "sample", "epsilon": 4.0, "delta": DELTA} | changes


def client(**changes: Any) -> dict[str, Any]:
    return {"unit": "client", "noise_multiplier": 4.0, "delta": 1e-2} | changes


def averaging(**changes: Any) -> dict[str, Any]:
    return {"name": "fedavg", "rounds": 4, "weights": "uniform"} | changes


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def privacy(run: accord.Run) -> dict[str, Any]:
    assert run.result is not None
    told: dict[str, Any] = run.result["privacy"]
    return told


def by_hand(runs: list[accord.Run], sizes: list[int], batch: int = 10) -> list[float]:
    """Each client's epsilon over runs of unit sample, by dp-accounting from what the run folders say was done."""
    spent = []
    for number, n in enumerate(sizes):
        accountant = rdp.RdpAccountant()
        for run in runs:
            step = PoissonSampledDpEvent(min(1, batch / n), GaussianDpEvent(privacy(run)["noise_multiplier"]))
            for line in lines(run.folder / "ledger.jsonl"):
                if number in line["clients"]:
                    accountant.compose(step, line["steps"][line["clients"].index(number)])
        spent.append(float(accountant.get_epsilon(DELTA)))
    return spent


def test_the_budget_bounds_what_each_client_spends_over_all_runs(small_study: Small, tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = accord.run(small_study(privacy=sample(epsilon=2.0)), tmp_path / "a", ledger=file)
    two = accord.run(small_study(privacy=sample()), tmp_path / "b", ledger=str(file))
    alone = accord.run(small_study(privacy=sample()), tmp_path / "c")
    spent = by_hand([one, two], [50] * 6)
    assert privacy(two)["epsilon"] == pytest.approx(max(spent), rel=1e-9)
    assert 3.98 < privacy(two)["epsilon"] <= 4.0  # calibrated to meet the budget jointly, and no tighter
    assert privacy(two)["noise_multiplier"] > privacy(alone)["noise_multiplier"]
    own = privacy(two)["joint"]["own"]["max"]
    assert own == pytest.approx(max(by_hand([two], [50] * 6)), rel=1e-9)
    assert own < privacy(two)["epsilon"] < own + privacy(one)["epsilon"]
    heads = check_heads(file, {"two": privacy(two)["joint"]["head"]})
    assert privacy(two)["joint"] | {"own": None, "run": None} == {
        "ledger": str(file.resolve()), "run": None, "runs": 2, "own": None, "head": heads[-1], "lines": 12,
    }  # fmt: skip
    assert [charged.closed for charged in read(file)] == [True, True]
    assert privacy(alone)["joint"] is None
    assert two.rounds[-1].epsilon is not None
    assert two.rounds[-1].epsilon.max == privacy(two)["epsilon"] == summary(read(file))["epsilon"]
    last = lines(two.folder / "ledger.jsonl")[-1]
    assert (last["epsilon"]["0"], last["own"]["0"]) == (privacy(two)["epsilon"], own)


def test_a_client_that_has_spent_its_budget_sits_out(small_study: Small, tmp_path: Path) -> None:
    """Clients with fewer rows spend more a step: they are the first to have nothing left."""
    file = tmp_path / "j"
    study = small_study(partition=LINEAR, privacy=sample(noise_multiplier=1.5, epsilon=6.0), program=averaging())
    runs = [accord.run(study, tmp_path / str(number), ledger=file) for number in range(3)]
    sizes = [int(size) for size in np.array(read(file)[0].header["sizes"])]
    spent = by_hand(runs, sizes)
    assert max(spent) <= 6.0
    refused = {client for run in runs for record in run.rounds for client in record.refused}
    assert refused
    for number in refused:
        assert spent[number] > 4.0
    took = [sum(number in record.clients for run in runs for record in run.rounds) for number in range(6)]
    assert took[0] < took[5]
    assert privacy(runs[2])["per_client"]["max"] == pytest.approx(max(spent), rel=1e-9)


def test_a_population_that_can_pay_no_more_ends_the_run(small_study: Small, tmp_path: Path) -> None:
    study = small_study(program=averaging(rounds=5), privacy=client(epsilon=1.7))
    first = accord.run(study, tmp_path / "a", ledger=tmp_path / "j")
    second = accord.run(study, tmp_path / "b", ledger=tmp_path / "j")
    assert first.result is not None
    assert second.result is not None
    assert (first.result["status"], second.result["status"]) == ("done", "stopped")
    assert second.result["message"].endswith("privacy budget past epsilon 1.7 with what earlier runs charged")
    rounds = first.result["rounds"] + second.result["rounds"]
    library = rdp.RdpAccountant().compose(GaussianDpEvent(4.0), rounds)
    assert privacy(second)["epsilon"] == pytest.approx(library.get_epsilon(1e-2), rel=1e-9)
    assert library.compose(GaussianDpEvent(4.0)).get_epsilon(1e-2) > 1.7


def test_units_sample_and_batch_share_a_ledger_and_local_ones_do(small_study: Small, tmp_path: Path) -> None:
    accord.run(small_study(privacy=sample(epsilon=2.0)), tmp_path / "a", ledger=tmp_path / "j")
    both = accord.run(small_study(privacy=sample(unit="batch")), tmp_path / "b", ledger=tmp_path / "j")
    assert 3.98 < privacy(both)["epsilon"] <= 4.0
    local = {"unit": "local", "noise_multiplier": 20.0, "delta": 1e-2}
    for number in (1, 2):
        run = accord.run(
            small_study(program=averaging(rounds=2), privacy=local), tmp_path / f"{number}", ledger=tmp_path / "k"
        )
    library = rdp.RdpAccountant().compose(GaussianDpEvent(10.0), 4)
    assert privacy(run)["epsilon"] == pytest.approx(library.get_epsilon(1e-2), rel=1e-9)


def test_runs_of_one_study_draw_noise_batches_and_cohorts_of_their_own(small_study: Small, tmp_path: Path) -> None:
    """Else two runs of one seed that differ in the noise multiplier alone would give the noise away, and composition,
    which takes their sampling for independent, would not hold."""
    study = small_study(program=averaging(cohort_size=3, rounds=6), privacy=client(noise_multiplier=2.0))
    runs = [accord.run(study, tmp_path / str(number), ledger=tmp_path / "j") for number in (1, 2)]
    assert [record.cohort for record in runs[0].rounds] != [record.cohort for record in runs[1].rounds]
    study = small_study(privacy=sample(noise_multiplier=1e-3, epsilon=None))  # so little that batches show
    runs = [accord.run(study, tmp_path / str(number), ledger=tmp_path / "k") for number in (3, 4)]
    # The noise moves a parameter by about 1e-4 in all.
    assert max(float((runs[0].params[name] - value).abs().max()) for name, value in runs[1].params.items()) > 2e-3


def test_the_same_runs_in_the_same_order_are_the_same(small_study: Small, tmp_path: Path) -> None:
    told = []
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        for name in ("a", "b"):
            run = accord.run(
                small_study(privacy=sample(noise_multiplier=2.0)),
                tmp_path / place / name,
                ledger=tmp_path / place / "j",
            )
        told.append(
            (
                {name: value.numpy().tobytes() for name, value in run.params.items()},
                (tmp_path / place / "j").read_bytes(),
            )
        )
    assert told[0] == told[1]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, StudyError, "the study has no privacy section"),
    (
        {"privacy": sample(), "evaluation": {"twin": True}},
        StudyError,
        "evaluation.twin trains on the same rows without",
    ),
    (
        {"privacy": sample(epsilon=1.9)},
        PrivacyError,
        "privacy.epsilon 1.9: earlier runs on this ledger took 1.99",
    ),
    ({"privacy": sample(), "seed": 3}, PrivacyError, "is the ledger of another data set or partition"),
    (
        {"privacy": sample(), "partition": {"name": "iid", "num_partitions": 5}},
        PrivacyError,
        r"\(6 clients, here 5; run st",
    ),
    (
        {"privacy": client(), "program": averaging()},
        PrivacyError,
        "unit client protects a client, by noise at the server",
    ),
    (
        {"privacy": sample(unit="local", noise_multiplier=20.0, delta=0.01)},
        PrivacyError,
        "unit local protects a client",
    ),
]


@pytest.mark.parametrize(("sections", "error", "message"), REFUSED)
def test_what_cannot_be_added_up_is_refused_and_charges_nothing(
    small_study: Small, tmp_path: Path, sections: dict[str, Any], error: type[Exception], message: str
) -> None:
    file = tmp_path / "j"
    accord.run(small_study(privacy=sample(epsilon=2.0)), tmp_path / "a", ledger=file)
    before = file.read_bytes()
    with pytest.raises(error, match=message) as caught:
        accord.run(small_study(**sections), tmp_path / "b", ledger=file)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == before
    assert not (tmp_path / "b").exists()


def test_neighbours_of_two_kinds_are_refused(small_study: Small, tmp_path: Path) -> None:
    poisson = averaging(cohort_size=3, cohort_sampling="poisson", rounds=1)
    fixed = averaging(cohort_size=3, rounds=1)
    accord.run(small_study(program=poisson, privacy=client()), tmp_path / "a", ledger=tmp_path / "j")
    for terms in (client(), client(noise_multiplier=None, epsilon=50.0)):
        with pytest.raises(PrivacyError, match="those of an earlier run by adding or removing one"):
            accord.run(small_study(program=fixed, privacy=terms), tmp_path / "b", ledger=tmp_path / "j")
    fixed_runs = [
        accord.run(small_study(program=fixed, privacy=client()), tmp_path / name, ledger=tmp_path / "k")
        for name in "cd"
    ]
    assert privacy(fixed_runs[1])["epsilon"] > privacy(fixed_runs[0])["epsilon"]
    with pytest.raises(PrivacyError, match="pld cannot account fixed-size cohorts"):
        accord.run(small_study(program=fixed, privacy=client(accountant="pld")), tmp_path / "e", ledger=tmp_path / "k")


def test_a_refused_first_run_leaves_no_file(small_study: Small, tmp_path: Path) -> None:
    for sections in ({}, {"privacy": sample(delta=0.5)}, {"privacy": sample(), "program": averaging(cohort_size=99)}):
        with pytest.raises(accord.RequestError):
            accord.run(small_study(**sections), tmp_path / "a", ledger=tmp_path / "j")
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_while_one_runs_is_refused(small_study: Small, tmp_path: Path) -> None:
    file = tmp_path / "j"
    refused = []

    def meanwhile(stage: str, record: object, planned: int) -> None:
        with pytest.raises(RunFolderError, match="in use by another run; wait for it to end") as caught:
            accord.run(small_study(privacy=sample()), tmp_path / "b", ledger=file)
        refused.append(str(caught.value))

    accord.run(small_study(privacy=sample()), tmp_path / "a", ledger=file, on_round=meanwhile)
    assert len(refused) == 4
    assert not (tmp_path / "b").exists()


# --- taken up again -----------------------------------------------------------------------------------


def cut_after(rounds: int) -> Callable[[str, Any, int], None]:
    """Ends a run as a kill would, after so many rounds."""

    def power_cut(stage: str, record: Any, planned: int) -> None:
        if record.round == rounds:
            raise RuntimeError("power cut")

    return power_cut


def killed(study: Study, folder: Path, file: Path, rounds: int) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        accord.run(study, folder, ledger=file, on_round=cut_after(rounds))


SPARSE = {"checkpoint_every": 10}


@pytest.mark.parametrize("unit", ["sample", "client"])
def test_a_run_taken_up_ends_where_it_would_have_and_charges_each_round_once(
    small_study: Small, tmp_path: Path, unit: str
) -> None:
    terms = sample() if unit == "sample" else client()
    study = small_study(program=averaging(rounds=5, cohort_size=4), privacy=terms, evaluation=SPARSE)
    ends = []
    for place in ("whole", "cut"):
        folder = tmp_path / place
        folder.mkdir()
        accord.run(
            small_study(program=averaging(cohort_size=4), privacy=terms | {"noise_multiplier": 5.0, "epsilon": None}),
            folder / "a",
            ledger=folder / "j",
        )
        if place == "whole":
            run = accord.run(study, folder / "b", ledger=folder / "j")
        else:
            killed(study, folder / "b", folder / "j", 3)  # the checkpoint is that of round 0
            run = accord.resume(folder / "b")
        ends.append((run, (folder / "j").read_bytes()))
    (whole, at_end), (cut, at_end_of_cut) = ends
    assert at_end == at_end_of_cut
    assert all(bool((cut.params[name] == value).all()) for name, value in whole.params.items())
    assert lines(cut.folder / "ledger.jsonl") == lines(whole.folder / "ledger.jsonl")
    assert len(lines(cut.folder / "replayed.jsonl")) == 3
    assert privacy(cut) | {"joint": None} == privacy(whole) | {"joint": None}


def test_rounds_done_again_are_as_they_were_whatever_another_run_spent_since(
    small_study: Small, tmp_path: Path
) -> None:
    """The run between spends the small clients' budget. They took part before the kill, so they do again, or the same
    noise would hide another sum; further rounds are without them. Nobody passes the budget, and nothing is charged
    twice or taken back."""
    file = tmp_path / "j"
    terms = sample(noise_multiplier=2.0, epsilon=5.0)
    study = small_study(partition=LINEAR, program=averaging(rounds=8, min_clients=1), privacy=terms, evaluation=SPARSE)
    killed(study, tmp_path / "a", file, 3)
    first = file.read_bytes()
    between = accord.run(study, tmp_path / "b", ledger=file)
    assert between.result is not None
    assert file.read_bytes().startswith(first)
    before = lines(file)
    resumed = accord.resume(tmp_path / "a")
    after = lines(file)
    assert after[: len(before)] == before
    name = privacy(resumed)["joint"]["run"]
    charged = [line for line in after if line["run"] == name and "round" in line]
    assert [line["round"] for line in charged] == list(range(1, len(charged) + 1))
    done = lines(resumed.folder / "ledger.jsonl")
    assert [(line["clients"], line["steps"]) for line in done] == [(line["clients"], line["steps"]) for line in charged]
    assert [line["clients"] for line in done[:3]] == [list(range(6))] * 3
    assert all(0 not in line["clients"] for line in done[3:])
    spent = by_hand([between, resumed], read(file)[0].header["sizes"])
    assert max(spent) <= 5.0
    assert privacy(resumed)["epsilon"] == pytest.approx(max(spent), rel=1e-9)


def test_calibrated_noise_stays_what_it_was(small_study: Small, tmp_path: Path) -> None:
    """What another run charged meanwhile would make it larger, and rounds done again others than those charged."""
    file = tmp_path / "j"
    study = small_study(privacy=sample(epsilon=6.0), program=averaging(rounds=6))
    killed(study, tmp_path / "a", file, 2)
    accord.run(small_study(privacy=sample(epsilon=5.0), program=averaging(rounds=2)), tmp_path / "b", ledger=file)
    resumed = accord.resume(tmp_path / "a")
    assert resumed.result is not None
    assert (resumed.result["status"], resumed.result["reason"]) == ("stopped", "budget")
    assert privacy(resumed)["noise_multiplier"] == read(file)[0].plan.noise_multiplier
    assert 5.0 < privacy(resumed)["epsilon"] <= 6.0


def test_what_was_charged_counts_though_the_round_was_not_finished(small_study: Small, tmp_path: Path) -> None:
    file = tmp_path / "j"
    study = small_study(privacy=sample(noise_multiplier=2.0), evaluation=SPARSE)
    killed(study, tmp_path / "a", file, 3)
    all_charged = summary(read(file))["epsilon"]

    def stop(stage: str, record: Any, planned: int) -> None:
        raise KeyboardInterrupt

    stopped = accord.resume(tmp_path / "a", on_round=stop)  # after round 1, done again; 2 and 3 were released before
    assert stopped.result is not None
    assert (stopped.result["status"], stopped.result["rounds"]) == ("stopped", 1)
    assert privacy(stopped)["epsilon"] == all_charged
    assert stopped.rounds[-1].epsilon is not None
    assert stopped.rounds[-1].epsilon.max < all_charged
    finished = accord.resume(tmp_path / "a")
    assert len(lines(file)) == 6
    assert privacy(finished)["epsilon"] == summary(read(file))["epsilon"] > all_charged


def test_a_run_is_taken_up_only_with_its_ledger(small_study: Small, tmp_path: Path) -> None:
    file, aside = tmp_path / "j", tmp_path / "aside"
    study = small_study(privacy=sample())
    killed(study, tmp_path / "a", file, 1)
    older = file.read_bytes()
    with pytest.raises(RuntimeError, match="power cut"):
        accord.resume(tmp_path / "a", on_round=cut_after(3))
    file.rename(aside)
    with pytest.raises(RunFolderError, match="missing, but the run charges it"):
        accord.resume(tmp_path / "a")
    file.write_bytes(older)
    with pytest.raises(PrivacyError, match="lines were lost"):
        accord.resume(tmp_path / "a")
    file.unlink()
    accord.run(study, tmp_path / "b", ledger=file)
    file.write_bytes(file.read_bytes().splitlines(keepends=True)[0].replace(b"0.0001", b"0.0002"))
    with pytest.raises(PrivacyError, match="lines were lost, or the file was written anew"):
        accord.resume(tmp_path / "a")
    shutil.copy(aside, file)
    changed = [line | ({"clients": [0], "steps": [5]} if line.get("round") == 2 else {}) for line in lines(file)]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in changed))
    with pytest.raises(PrivacyError, match="line 4: broken chain"):
        accord.resume(tmp_path / "a")
    shutil.copy(aside, file)
    with locked(file), pytest.raises(RunFolderError, match="in use by another run"):
        accord.resume(tmp_path / "a")
    done = accord.resume(tmp_path / "a")
    file.unlink()
    assert accord.resume(tmp_path / "a").result == done.result  # nothing is left to charge


def test_a_run_folder_notes_the_head_and_resuming_on_a_cut_ledger_is_refused(
    small_study: Small, tmp_path: Path
) -> None:
    """Also where all that was lost is another run's."""
    file, study = tmp_path / "j", small_study(privacy=sample(noise_multiplier=4.0, epsilon=None))
    other = accord.run(study, tmp_path / "other", ledger=file)

    def stop(stage: str, record: Any, planned: int) -> None:
        if record.round == 2:
            raise KeyboardInterrupt

    first = accord.run(study, tmp_path / "first", ledger=file, on_round=stop)
    assert [charged.closed for charged in read(file)] == [True, False]
    assert noted_head(first.folder, file) == privacy(first)["joint"]["head"]
    text = file.read_bytes()
    for lost in (1, 2):
        file.write_bytes(b"".join(text.splitlines(keepends=True)[:-lost]))
        with pytest.raises(PrivacyError, match="lines were lost, or the file was written anew"):
            accord.resume(first.folder)
    file.write_bytes(text)
    accord.resume(first.folder)
    assert [charged.closed for charged in read(file)] == [True, True]
    assert len(check_heads(file, {str(run.folder): noted_head(run.folder, file) for run in (other, first)})) == 12


def test_a_run_that_its_budget_ends_is_closed(small_study: Small, tmp_path: Path) -> None:
    file = tmp_path / "j"
    study = small_study(program=averaging(rounds=5), privacy=client(epsilon=1.7))
    ended = [accord.run(study, tmp_path / str(number), ledger=file).result for number in range(3)]
    assert [each["reason"] for each in ended if each is not None][-1] == "budget"
    assert [charged.closed for charged in read(file)] == [True] * 3
