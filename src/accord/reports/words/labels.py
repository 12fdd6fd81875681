"""Names of columns, groups and clients in tables and figures."""

from collections.abc import Mapping
from typing import Any

from accord.reports.words.formatting import plain


def column_label(column: str, longest: int = 40) -> str:
    """Formats a column's name on one line.

    >>> column_label("sex*race")
    'sex × race'
    """
    return plain(column.replace("*", " × "), longest)


def group_label(name: str, column: str, longest: int = 40) -> str:
    """Formats a group's name without its column's, on one line.

    >>> group_label("sex*race=Female, White", "sex*race")
    'Female, White'
    """
    return plain(name.removeprefix(f"{column}="), longest)


def client_label(client: Mapping[str, Any], longest: int = 14) -> str:
    """Formats a client's name, or its number if it has none.

    >>> client_label({"client": 3, "name": ""}), client_label({"client": 3, "name": "north"})
    ('client 3', 'north')
    """
    return plain(client["name"] or f"client {client['client']}", longest)
