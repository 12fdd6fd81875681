"""A federation on this machine, to try: a coordinator and three sites as real processes, one study, a report.

Each site has the rows of one kind of employer of UCI's Adult census (Becker and Kohavi 1996) in a file of its own, a
key of its own, terms of its own and a ledger of its own. They meet over HTTPS on loopback, with certificates of the
federation's authority. Everything is ended and removed in the end but the run's folder.
"""

import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from accord.config.load import make_study
from accord.core.errors import FederationError
from accord.data.sources.adult import COLUMNS, ORIGIN, VOCABULARIES
from accord.data.sources.places import find, read_bytes
from accord.orchestration.runs import run
from accord.sites.local_federation import local_federation
from accord.sites.verify import verify_folder

Say = Callable[[str], None]

EMPLOYERS = {
    "private-firms": ("Private",),
    "public-service": ("Federal-gov", "Local-gov", "State-gov"),
    "self-employed": ("Self-emp-not-inc", "Self-emp-inc"),
}
"""The sites, and whose rows each has."""
SCHEMA = {
    "target": "income",
    "ranges": {"age": [17, 90], "education-num": [1, 16], "hours-per-week": [1, 99]},
    "categories": {
        "income": ["<=50K", ">50K"],
        "marital-status": list(VOCABULARIES["marital-status"]),
        "occupation": list(VOCABULARIES["occupation"]),
        "sex": list(VOCABULARIES["sex"]),
        "race": list(VOCABULARIES["race"]),
    },
    "groups": ["sex", "race"],
    "missing_values": [""],
}
STUDY = {
    "data": {"name": "sites", "data_set": "incomes", "schema": SCHEMA},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"batch_size": 256, "local_steps": 20, "learning_rate": 0.5},
    "program": {"name": "fedavg", "rounds": 10},
    "privacy": {"unit": "sample", "clip_norm": 1.0, "epsilon": 2.0, "delta": 1e-5},
    "fairness": {"groups": ["sex", "race"], "positive": ">50K"},
    "evaluation": {"every": 5},
    "trackers": [],
}
ENGINE = {"name": "federation", "purpose": "what privacy costs by group, over incomes of three employers"}
RULE = {
    "data_set": "incomes",
    "programs": ["fedavg"],
    "models": ["mlp"],
    "settings": {"model.hidden": {"most": 64}},
    "privacy": {"units": ["sample"], "least_noise": 0.5, "most_delta": 1e-4},
    "budget": {"delta": 1e-5, "study": 3.0, "total": 5.0},
    "contributors": 3,
    "leaves": {"evaluation": {"noise_multiplier": 16.0, "delta": 1e-6}},
    "approval": "rule",
}
"""What every site allows."""


def run_demo(out: Path | None, say: Say) -> int:
    """Runs the demonstration. Returns the exit code.

    Args:
        out: the run's folder, or None for one under `runs/`.
        say: takes lines for people.

    Raises:
        DataError: Adult's files are not on this machine; the message says how to get them.
        FederationError: a process did not come up.
    """
    rows = _rows_by_site()
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="accord-demo-") as home:
        files = Path(home) / "rows"
        files.mkdir()
        sites = {name: _described(files / f"{name}.csv", lines) for name, lines in rows.items()}
        with local_federation(Path(home) / "members", sites, (RULE,)) as there:
            say(f"coordinator: process {there.processes['coordinator']}, {there.url}")
            for name, lines in rows.items():
                own = f"{len(lines) - 1:,} rows that stay in {files / name}.csv"
                say(f"{name}: process {there.processes[name]}, {own}")
            study = make_study({**STUDY, "engine": {**ENGINE, "identity": str(there.identity)}})
            planned = study.program.rounds
            done = run(
                study,
                out,
                name="three-employers",
                on_round=lambda stage, record, _: say(
                    f"round {record.round}/{planned}: "
                    + ("" if record.test is None else f"accuracy {record.test['accuracy']:.1%}, ")
                    + ("" if record.epsilon is None else f"epsilon at most {record.epsilon.max:.2f}")
                ),
            )
            outcome = done.outcome
            if outcome is None:
                raise FederationError("the demonstration's run did not end")
            for name in rows:
                found = verify_folder(there.site(name))
                say(f"{name}: journal of {found.lines} lines, whole and countersigned by the coordinator")
            say(f"report: {done.folder / 'report.html'}")
    say("all processes are ended, and their folders removed")
    return 0 if outcome.done else 3


def _rows_by_site() -> dict[str, list[str]]:
    """Reads Adult's training rows, and gives each site its own as lines of CSV."""
    text = read_bytes(find(ORIGIN, None)["adult.data"]).decode()
    wanted = ["age", "education-num", "hours-per-week", "marital-status", "occupation", "sex", "race", "income"]
    head = ",".join(wanted)
    found: dict[str, list[str]] = {name: [head] for name in EMPLOYERS}
    for line in text.splitlines():
        fields = dict(zip(COLUMNS, (field.strip() for field in line.split(",")), strict=False))
        for name, employers in EMPLOYERS.items():
            if fields.get("workclass") in employers:
                found[name].append(",".join(fields[column] for column in wanted))
    return found


def _described(path: Path, lines: list[str]) -> dict[str, object]:
    """Writes a site's rows, and returns its description of them."""
    path.write_text("\n".join(lines) + "\n")
    return {"data_set": "incomes", "schema": SCHEMA, "source": {"name": "csv", "path": str(path)}}


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turns SIGTERM into an interrupt, so that what was begun is ended."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
