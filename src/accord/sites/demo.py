"""A federation on this machine, to try: a coordinator and three sites as real processes, one study, a report.

Each site has the rows of one kind of employer of UCI's Adult census (Becker and Kohavi 1996) in a file of its own, a
key of its own, terms of its own and a ledger of its own. They meet over HTTPS on loopback, with certificates of the
federation's authority. Everything is ended and removed in the end but the run's folder.
"""

import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import yaml

from accord.config.load import make_study
from accord.core.errors import FederationError
from accord.data.sources.adult import COLUMNS, ORIGIN, VOCABULARIES
from accord.data.sources.places import find, read_bytes
from accord.orchestration.runs import run
from accord.sites import agent_process
from accord.sites.policy import sign_policy
from accord.sites.site_setup import make_site
from accord.sites.verify import verify_folder
from accord.transport import server
from accord.transport.enrolment import Role, read_request
from accord.transport.federation_folder import Settings, invitation, make_federation, open_coordinator
from accord.transport.joining import join
from accord.transport.keys import load_key, public_hex

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
    "engine": {"name": "federation", "purpose": "what privacy costs by group, over incomes of three employers"},
    "trackers": [],
}


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
    with ExitStack() as ending, _ended_by_signals():
        home = Path(tempfile.mkdtemp(prefix="accord-demo-"))
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        coordinator = home / "coordinator"
        make_federation(coordinator, Settings("demo", ("127.0.0.1",), _free_port()))
        pid = server.start(coordinator)
        ending.callback(server.stop, coordinator)
        invited = invitation(coordinator)
        say(f"coordinator: process {pid}, {invited.partition('#')[0]}")
        requester = _admitted(coordinator, home / "requester", invited, "researcher", "university", "requester")
        key = public_hex(load_key(requester / "key.pem"))
        for name, lines in rows.items():
            site = _admitted(coordinator, home / name, invited, name, name, "site")
            _make_site(site, lines, key)
            pid = agent_process.start(site)
            ending.callback(agent_process.stop, site)
            say(f"{name}: process {pid}, {len(lines) - 1:,} rows that stay in {site / 'rows.csv'}")
        study = make_study(STUDY)
        study = study.model_copy(update={"engine": study.engine.model_copy(update={"identity": str(requester)})})
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
            found = verify_folder(home / name)
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


def _admitted(coordinator: Path, folder: Path, invited: str, name: str, organisation: str, role: Role) -> Path:
    _, path = join(folder, invited, name, organisation, role)
    books, authority = open_coordinator(coordinator)
    try:
        request = read_request(path)
        books.members.admit(request)
        (folder / "certificate.pem").write_bytes(authority.issue(name, request.public_key))
    finally:
        books.tables.close()
    return folder


def _make_site(folder: Path, lines: list[str], requester_key: str) -> None:
    make_site(folder)
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    source = {"name": "csv", "path": str(folder / "rows.csv")}
    described = {"data_set": "incomes", "schema": SCHEMA, "source": source}
    (folder / "data" / "incomes.yaml").write_text(yaml.safe_dump(described, sort_keys=False))
    policy = {
        "requesters": [{"name": "researcher", "organisation": "university", "key": requester_key}],
        "rules": [
            {
                "data_set": "incomes",
                "requesters": ["researcher"],
                "programs": ["fedavg"],
                "models": ["mlp"],
                "settings": {"model.hidden": {"most": 64}},
                "privacy": {"units": ["sample"], "least_noise": 0.5, "most_delta": 1e-4},
                "budget": {"delta": 1e-5, "study": 3.0, "total": 5.0},
                "contributors": 3,
                "approval": "rule",
            }
        ],
    }
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(policy, sort_keys=False))
    sign_policy(path, load_key(folder / "key.pem"))


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


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
