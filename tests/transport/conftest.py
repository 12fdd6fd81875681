"""Databases for the coordinator's tables: a file of SQLite, and a PostgreSQL server of the tests' own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from accord.transport.tables import sqlite_url
from transport.postgres_server import binaries, new_database, serving_postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[sa.URL]:
    """A server, once for all tests."""
    programs = binaries()
    if programs is None:
        assert not os.environ.get("ACCORD_NEEDS_POSTGRES"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    with serving_postgres(programs) as url:
        yield url


@pytest.fixture
def postgres(postgres_server: sa.URL) -> str:
    """The URL of an empty database of PostgreSQL."""
    return new_database(postgres_server)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres")
        return url
    return sqlite_url(tmp_path / "federation.db")
