"""A PostgreSQL server of the tests' own: a cluster in a temporary folder, on a socket in it, ended afterwards."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

_NUMBERS = count(1)


def binaries() -> Path | None:
    """Returns the folder of `initdb` and `pg_ctl`, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    # Debian keeps them beside the path, a folder for each version.
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


def _unprivileged() -> Mapping[str, Any]:
    """Returns as whom the server runs: it refuses to be root."""
    if os.geteuid() != 0:
        return {}
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def serving_postgres(programs: Path) -> Iterator[sa.URL]:
    """Runs a server until the block ends. Gives the URL of its first database."""
    who = _unprivileged()
    # In a folder whose path is short: that of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="accord-pg-"))
    try:
        if who:
            os.chown(folder, who["user"], who["group"])
        folder.chmod(0o755)
        cluster = folder / "cluster"

        def ran(program: str, *arguments: str) -> None:
            log = (folder / "log").open("ab")
            with log:
                done = subprocess.run(
                    [str(programs / program), "-D", str(cluster), *arguments],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, timeout=60, check=False, **who,
                )  # fmt: skip
            assert done.returncode == 0, (folder / "log").read_text()

        ran("initdb", "--username=accord", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        ran("pg_ctl", "-w", "-o", f"-F -c listen_addresses='' -c unix_socket_directories='{folder}'", "start")
        try:
            yield sa.URL.create("postgresql+psycopg", "accord", database="postgres", query={"host": str(folder)})
        finally:
            ran("pg_ctl", "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: sa.URL) -> str:
    """Makes a database and returns its URL."""
    name = f"federation_{next(_NUMBERS)}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
    finally:
        engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)
