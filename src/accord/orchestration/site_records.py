"""What a run across sites keeps in its folder: the job, who takes part, and every signed statement.

`job.json` is the run as it was submitted, under which a resumed run asks again, and `keys.json` has the sites' public
keys. `sites.jsonl` is append-only and has a line for each task: the task, and the site's signed answer or refusal as it
came. `sums/` has the sums that the final figures are computed from. `partition.json` has what sites stated of their
rows, which is their rounded number and nothing else.
"""

from pathlib import Path
from typing import Any

from accord.core.errors import RunFolderError
from accord.data.federated import FederatedData
from accord.data.partition_summary import partition_summary
from accord.orchestration.site_run import SitePlan, SiteRun
from accord.records import store
from accord.transport.messages import Job, Signed, from_json

STATEMENTS = "sites.jsonl"
JOB = "job.json"
KEYS = "keys.json"
SUMS = "sums"
"""Folder of the final evaluation's sums, a file a site by its SHA-256, from which its figures can be computed again."""


def write_clients(federated: FederatedData, sites: SiteRun | None, folder: Path) -> None:
    """Writes what is known of each client to `partition.json`: its rows, or what its site stated of them.

    Of a run across sites the job is also written, under which a resumed run asks again.
    """
    if sites is None:
        store.write_json(folder / "partition.json", partition_summary(federated))
        return
    store.write_json(folder / JOB, Signed(sites.job, sites.job.requester, "").as_json())
    store.write_json(folder / KEYS, dict(sites.keys))
    store.write_json(folder / "partition.json", partition_stated(sites.plans))


def partition_stated(plans: tuple[SitePlan, ...]) -> dict[str, Any]:
    """Returns what `partition.json` holds of sites. Labels are unknown, and so are test rows."""
    return {
        "class_names": [],
        "clients": [
            {"client": client, "name": plan.site, "rows": plan.rows, "test_rows": 0, "labels": []}
            for client, plan in enumerate(plans)
        ],
    }


def store_statements(sites: SiteRun | None, folder: Path) -> None:
    """Appends what sites answered since the last call. Does nothing where all clients are in this process."""
    if sites is None:
        return
    for digest, content in sites.statements.artefacts().items():
        (folder / SUMS).mkdir(exist_ok=True)
        # Before the line that names it.
        store.write_bytes(folder / SUMS / digest, content)
    for line in sites.statements.take():
        store.append_line(folder / STATEMENTS, line)


def restore_statements(sites: SiteRun | None, folder: Path) -> None:
    """Takes up what an earlier process of the run wrote, so that totals cover the whole run."""
    if sites is not None:
        sites.statements.restore(store.read_lines(folder / STATEMENTS))


def stored_job(folder: Path) -> Job:
    """Reads the job of a run that was begun.

    Raises:
        RunFolderError: there is none.
    """
    path = folder / JOB
    if not path.is_file():
        raise RunFolderError(f"{path}: missing, so the sites would not know the run; restore the file")
    return from_json(store.read_json(path), Job).message
