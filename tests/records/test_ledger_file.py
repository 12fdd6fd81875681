"""The file of a joint ledger: one run at a time, read as it stands, only ever added to."""

import fcntl
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

from accord.core.errors import PrivacyError, RequestError, RunFolderError, StorageError
from accord.privacy.ledger import Ledger
from accord.privacy.ledger_chain import START, digest, follow
from accord.privacy.plan import PrivacyPlan
from accord.records import checkpoints, store
from accord.records import ledger_file as joint_ledger
from accord.records.ledger_file import Entry, check_heads, check_runs, locked, noted_head, read

PLAN = PrivacyPlan("sample", 1.0, 1.5, 1e-3, expected_size=10)
SIZES = np.array([60, 200, 75], dtype=np.int64)


def enter(path: Path, plan: PrivacyPlan = PLAN, resumed: str | None = None) -> Entry:
    """A run's place, taken while the file is held."""
    with locked(path, resumed) as opened:
        entry = joint_ledger.entry(opened, opened.run("study"), "study", plan, "rows", SIZES)
        entry.begin()
        return entry


def test_runs_add_lines_and_what_they_charged_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "adult.ledger"
    one = enter(file)
    one.charge(1, {0: 3, 1: 5})
    with locked(file) as opened:
        assert opened.own is None
        (spent,) = opened.before(1e-3, "rdp", "rows", 3)
        assert spent.steps.tolist() == [3, 5, 0]
    two = enter(file, replace(PLAN, noise_multiplier=2.0))
    two.charge(1, {2: 1})
    assert (one.runs, two.runs, one.run == two.run) == (1, 2, False)
    assert [(each.run, each.steps().tolist()) for each in read(file)] == [(one.run, [3, 5, 0]), (two.run, [0, 0, 1])]
    assert [line["sizes"] for line in store.read_lines(file) if "sizes" in line] == [[60, 200, 75], None]


def test_a_run_is_named_by_its_study_and_all_that_was_charged_before(tmp_path: Path) -> None:
    names = []
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "j"
        first = enter(file)
        again = enter(file)
        again.charge(1, {0: 1})
        names.append([first.run, again.run, enter(file).run])
    assert names[0] == names[1]
    assert len(set(names[0])) == 3
    with locked(tmp_path / "z") as opened:
        assert opened.run("study") == names[0][0] != opened.run("another study")


def test_a_run_taken_up_finds_its_rounds_charged_and_adds_only_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = enter(file)
    one.charge(1, {0: 3})
    one.charge(2, {1: 4})
    enter(file).charge(1, {2: 9})
    before = file.read_bytes()
    with locked(file, one.run) as opened:
        again = joint_ledger.entry(opened, opened.run("study"), "study", PLAN, "rows", SIZES)
        assert [each.run == one.run for each in opened.others] == [False]
        again.begin()
        again.charge(1, {0: 3})
        again.charge(2, {1: 4})
    assert file.read_bytes() == before
    assert (again.run, again.paid, again.runs) == (one.run, ({0: 3}, {1: 4}), 2)
    again.charge(3, {0: 1})
    assert again.steps().tolist() == [4, 4, 0]
    assert again.steps(2).tolist() == [3, 4, 0]
    ledger = Ledger.open(PLAN, SIZES)
    assert again.charged(ledger).steps.tolist() == [4, 4, 0]


def test_a_torn_last_line_does_not_count_and_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = enter(file)
    one.charge(1, {0: 3})
    whole = file.read_bytes()
    for torn in (b'{"run":"' + one.run.encode()[:5], b'{"joint_ledger":1,'):
        file.write_bytes(whole + torn)
        assert [each.steps().tolist() for each in read(file)] == [[3, 0, 0]]
    replace(one, paid=({0: 3},)).charge(2, {0: 3})
    assert file.read_bytes().startswith(whole)
    assert [each.steps().tolist() for each in read(file)] == [[6, 0, 0]]


def test_a_line_damaged_before_the_last_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = enter(file)
    one.charge(1, {0: 3})
    one.charge(2, {0: 3})
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    with pytest.raises(RunFolderError, match="line 2: not a JSON object"):
        enter(file)
    file.write_bytes(lines[0] + lines[2])
    with pytest.raises(PrivacyError, match=r"line 2: broken chain"):
        enter(file)


@pytest.mark.parametrize("last", [b"garbage\n", b"my notes\n", b"[1]\n", b"\n"])
def test_a_whole_last_line_of_something_else_is_refused_and_left_alone(last: bytes, tmp_path: Path) -> None:
    """Only a line without its newline can be torn."""
    file = tmp_path / "j"
    enter(file).charge(1, {0: 3})
    for text in (file.read_bytes() + last, last):
        file.write_bytes(text)
        with pytest.raises(RunFolderError, match="not a JSON object"):
            read(file)
        with pytest.raises(RunFolderError, match="not a JSON object"):
            enter(file)
        assert file.read_bytes() == text


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    file = tmp_path / "j"
    (tmp_path / "other name").symlink_to(file)
    with locked(file):
        for name in ("j", "other name"):
            with pytest.raises(RunFolderError, match="in use by another run"), locked(tmp_path / name):
                pass
    with locked(file):
        pass


def test_nothing_is_left_where_nothing_was_charged(tmp_path: Path) -> None:
    with pytest.raises(RequestError), locked(tmp_path / "j"):
        raise RequestError("the study is wrong")
    assert list(tmp_path.iterdir()) == []


def test_a_file_removed_between_being_opened_and_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, flock = tmp_path / "j", fcntl.flock
    gone: list[bool] = []

    def late(descriptor: int, operation: int) -> None:
        if not gone:
            file.unlink()
            gone.append(True)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert enter(file).runs == 1
    assert gone
    assert len(read(file)) == 1


def test_files_that_cannot_be_ledgers_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path, message in (("folder", "cannot be opened"), ("nowhere/j", "cannot be opened")):
        with pytest.raises(RunFolderError, match=message), locked(tmp_path / path):
            pass
    (tmp_path / "study.yaml").write_text("data: digits\nseed: 0\n")
    with pytest.raises(RunFolderError, match="not a JSON object"), locked(tmp_path / "study.yaml"):
        pass
    assert (tmp_path / "study.yaml").read_text() == "data: digits\nseed: 0\n"


def test_a_run_is_taken_up_only_on_the_file_it_charged(tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = enter(file)
    with pytest.raises(RunFolderError, match="does not have run 0123"), locked(file, "0123"):
        pass
    with pytest.raises(RunFolderError, match=r"the header of run .* was changed"):
        enter(file, replace(PLAN, noise_multiplier=1.6), one.run)
    file.rename(tmp_path / "k")
    with pytest.raises(RunFolderError, match="missing, but the run charges it"), locked(file, one.run):
        pass
    assert not file.exists()


def test_a_full_disk_leaves_the_charges_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "j"
    one = enter(file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "_write_all", full)
    with pytest.raises(StorageError, match="No space left"):
        one.charge(1, {0: 3})
    assert file.read_bytes() == before


def two_runs(file: Path) -> tuple[Entry, list[bytes]]:
    """A file of two runs, the first of them ended; the second's place, and the lines."""
    one = enter(file)
    one.charge(1, {0: 3})
    one.charge(2, {1: 4})
    one.close()
    two = enter(file)
    two.charge(1, {2: 9})
    return two, file.read_bytes().splitlines(keepends=True)


def test_a_run_counts_its_own_steps_alone(tmp_path: Path) -> None:
    two, _ = two_runs(tmp_path / "j")
    assert two.steps().tolist() == [0, 0, 9]
    assert two.charged(Ledger.open(PLAN, SIZES)).steps.tolist() == [0, 0, 9]
    two.close()
    assert [charged.closed for charged in read(tmp_path / "j")] == [True, True]


def test_every_line_follows_on_all_before_it(tmp_path: Path) -> None:
    file = tmp_path / "j"
    two, _ = two_runs(file)
    lines = store.read_lines(file)
    by_hand = START
    for line in lines:
        assert line["before"] == by_hand
        by_hand = digest(line)
    assert check_heads(file, {}) == follow(lines, "j")[1]
    assert (two.tail.head, two.tail.lines) == (by_hand, 6)
    assert [charged.closed for charged in read(file)] == [True, False]


def test_any_line_changed_lost_added_or_moved_is_refused_at_the_next(tmp_path: Path) -> None:
    file = tmp_path / "j"
    _, lines = two_runs(file)
    cheaper = lines[0].replace(b'"noise_multiplier":1.5', b'"noise_multiplier":9.5')
    assert cheaper != lines[0]
    wrong = {
        "an edited header": ([cheaper, *lines[1:]], 2),
        "an edited charge": ([*lines[:1], lines[1].replace(b'"steps":[3]', b'"steps":[1]'), *lines[2:]], 3),
        "a lost charge": ([*lines[:1], *lines[2:]], 2),
        "a lost run": (lines[4:], 1),
        "a moved line": ([*lines[:4], lines[5], lines[4]], 5),
        "a line twice": ([*lines[:2], *lines[1:]], 3),
    }
    for what, (changed, number) in wrong.items():
        file.write_bytes(b"".join(changed))
        with pytest.raises(PrivacyError, match=f"line {number}: broken chain"):
            read(file)
        with pytest.raises(PrivacyError, match=f"line {number}: broken chain"):
            enter(file)
        assert file.read_bytes() == b"".join(changed), what


def test_lost_last_lines_show_against_a_head_noted_elsewhere(tmp_path: Path) -> None:
    """The chain alone cannot tell: what is left is a chain."""
    file = tmp_path / "j"
    two, lines = two_runs(file)
    for kept in range(1, len(lines)):
        file.write_bytes(b"".join(lines[:kept]))
        assert len(check_heads(file, {})) == kept
        with pytest.raises(PrivacyError, match="was its last when run two noted it: lines were lost"):
            check_heads(file, {"run two": two.tail.head})
        if kept > 4:
            with pytest.raises(PrivacyError, match="lines were lost"), locked(file, two.run, two.tail.head):
                pass
    file.write_bytes(b"".join(lines))
    with locked(file, two.run, two.tail.head):
        pass


def test_a_file_written_anew_shows_against_a_head(tmp_path: Path) -> None:
    file = tmp_path / "j"
    two, _ = two_runs(file)
    file.unlink()
    enter(file, replace(PLAN, noise_multiplier=9.5)).charge(1, {0: 1})
    read(file)
    with pytest.raises(PrivacyError, match="written anew"):
        check_heads(file, {"run two": two.tail.head})


def test_a_closed_run_charges_no_more_and_is_closed_once(tmp_path: Path) -> None:
    file = tmp_path / "j"
    one = enter(file)
    one.charge(1, {0: 3})
    one.close()
    before = file.read_bytes()
    again = enter(file, resumed=one.run)
    again.charge(1, {0: 3})
    again.close()
    assert file.read_bytes() == before
    with pytest.raises(RunFolderError, match="was closed, and charges no further round"):
        again.charge(2, {0: 3})
    assert file.read_bytes() == before


def test_a_ledger_from_before_there_was_a_chain_is_refused_with_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "j"
    store.append_line(file, {"joint_ledger": 1, "run": "a"})
    with pytest.raises(PrivacyError, match=r"line 1: has no digest .* before version 0.2 .* begin another"):
        read(file)


def test_a_folder_that_notes_no_ledger_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "j"
    enter(file)
    with pytest.raises(RunFolderError, match="notes no joint ledger"):
        noted_head(tmp_path, file)
    other = {"ledger": "/elsewhere/k", "run": "0123", "head": "abc"}
    store.write_json(tmp_path / "result.json", {"privacy": {"joint": other}})
    with pytest.raises(RunFolderError, match="charged the ledger /elsewhere/k, not "):
        noted_head(tmp_path, file)
    store.write_json(tmp_path / "result.json", {"privacy": {"joint": other | {"ledger": "/moved/j"}}})
    assert noted_head(tmp_path, file) == "abc"


@pytest.mark.parametrize(
    ("holdings", "population", "told"),
    [("other rows", 3, "the rows or their holders differ"), ("other rows", 4, "3 clients, here 4")],
)
def test_what_runs_on_other_data_charged_is_refused(holdings: str, population: int, told: str, tmp_path: Path) -> None:
    file = tmp_path / "j"
    enter(file).charge(1, {0: 3})
    with (
        locked(file) as opened,
        pytest.raises(PrivacyError, match=f"the ledger of another data set .*{told}") as caught,
    ):
        opened.before(1e-3, "rdp", holdings, population)
    assert str(caught.value).startswith(str(file))


def test_a_ledger_is_checked_against_what_run_folders_noted(tmp_path: Path) -> None:
    file = tmp_path / "j"
    ended, killed, fresh = (tmp_path / name for name in ("ended", "killed", "fresh"))
    for folder in (ended, killed, fresh):
        folder.mkdir()
    check_runs(file, [fresh])  # notes nothing, and so asks for no file
    one = enter(file)
    one.charge(1, {0: 3})
    store.write_json(ended / "result.json", {"privacy": {"joint": {"ledger": str(file), "head": one.tail.head}}})
    two = enter(file)
    checkpoints.save(killed, 1, {}, {"joint_ledger": {"ledger": str(file), "run": two.run, "head": two.tail.head}})
    check_runs(file, [ended, killed, fresh])
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    check_runs(file, [ended, fresh])
    with pytest.raises(PrivacyError, match=f"was its last when run {killed} noted it"):
        check_runs(file, [ended, killed])
    file.unlink()
    with pytest.raises(PrivacyError, match=f"no such file, but run {ended} charged it"):
        check_runs(file, [fresh, ended])
    store.write_json(fresh / "result.json", {"privacy": None})
    check_runs(file, [fresh])


def test_all_other_runs_count_whatever_their_mechanism(tmp_path: Path) -> None:
    file = tmp_path / "j"
    plans = [replace(PLAN, noise_multiplier=noise) for noise in (1.5, 2.5, 3.5, 2.5)]
    entries = []
    for number, plan in enumerate(plans):
        entries.append(enter(file, plan))
        entries[-1].charge(1, {0: number + 1, 2: 10 * (number + 1)})
    with locked(file) as opened:
        spent = opened.before(1e-3, "rdp", "rows", 3)
    assert [(each.plan.noise_multiplier, each.steps.tolist()) for each in spent] == [
        (1.5, [1, 0, 10]),
        (2.5, [2 + 4, 0, 20 + 40]),
        (3.5, [3, 0, 30]),
    ]
    with locked(file, entries[1].run) as opened:
        assert [each.run for each in opened.others] == [entries[number].run for number in (0, 2, 3)]
    # By dp-accounting, of the steps that stand in the file.
    accountant = rdp.RdpAccountant()
    for noise, steps in ((1.5, 10), (2.5, 60), (3.5, 30)):
        accountant.compose(PoissonSampledDpEvent(10 / 75, GaussianDpEvent(noise)), steps)
    ledger = Ledger.open(PLAN, SIZES, spent)
    assert ledger.epsilons([2])[0] == pytest.approx(accountant.get_epsilon(1e-3), rel=1e-9)
