"""A run folder's records as tidy tables for CSV or Parquet, one row per observation and one column per value.

No value is recomputed. A record's nested keys become dotted columns. Its lists by client or group become rows of a
separate table, and other lists become JSON text. Where a value is null or absent, the cell is empty.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import RunFolderError, StudyError
from accord.records.store import read_json, read_lines, storing, write_bytes
from accord.tasks.kinds import KINDS, kind_of_scores

Row = dict[str, Any]


@dataclass(frozen=True)
class ExportTable:
    """A table of plain values.

    Attributes:
        name: the file's name, without its suffix.
        rows: each maps columns to a number, text, bool or None. A row may lack columns that other rows have.
    """

    name: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of all rows, in order of first appearance. A section that is null in some rows is no column."""
        names = dict.fromkeys(column for row in self.rows for column in row)
        known = {column for row in self.rows for column, value in row.items() if value is not None}
        # `test` is null in rounds without evaluation, and the others have `test.accuracy`: `test` is no column then.
        above = {".".join(parts[:n]) for name in names for parts in [name.split(".")] for n in range(1, len(parts))}
        return tuple(name for name in names if name in known or name not in above)


def tables(folder: Path) -> list[ExportTable]:
    """Reads a run folder as tables. Tables without rows are left out.

    Raises:
        RunFolderError: the folder is not a run folder, or a record in it is damaged.
    """
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder}: not a run folder (it has no study.yaml)")
    if (folder / "points.json").is_file():
        raise RunFolderError(f"{folder}: a sweep's folder; its tables are table.csv and summary.csv, its runs in runs/")
    rounds = read_lines(folder / "rounds.jsonl")
    ledger = read_lines(folder / "ledger.jsonl")
    result = _json(folder / "result.json")
    partition, clients = _json(folder / "partition.json"), _json(folder / "clients.json")
    made = {
        "rounds": [_round(line) for line in rounds],
        "participation": [row for line in rounds for row in _participation(line)],
        "group_rounds": [row for line in rounds for row in _group_rounds(line)],
        "ledger": [row for line in ledger for row in _charges(line)],
        "replayed": [row for line in read_lines(folder / "replayed.jsonl") for row in _charges(line)],
        "clients": _clients(partition, clients, ledger, result.get("privacy")),
        "client_groups": [row for each in clients.get("clients", ()) for row in _client_groups(each)],
        "groups": _groups(result.get("fairness")),
        "gaps": _gaps(result.get("fairness")),
        "summary": [_summary(result)] if result else [],
    }
    return [ExportTable(name, tuple(rows)) for name, rows in made.items() if rows]


def write_tables(made: Iterable[ExportTable], folder: Path, form: str) -> list[Path]:
    """Writes each table as a file into `folder`, which is created if missing.

    Args:
        made: the tables.
        folder: the target folder.
        form: `csv` or `parquet`.

    Returns:
        The files, in the tables' order.

    Raises:
        StudyError: the package for Parquet is missing. Nothing was written.
        RunFolderError: a file of the name exists already. Nothing was written.
        StorageError: the disk is full or refuses.
    """
    encode = {"csv": _csv, "parquet": _parquet}[form]
    made = list(made)
    paths = [folder / f"{table.name}.{form}" for table in made]
    there = [path for path in paths if path.exists()]
    if there:
        raise RunFolderError(f"{there[0]} exists already; choose another folder with --out, or remove it")
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"{folder} exists and is not a folder; choose another with --out")
    # Everything is encoded before the first file is written, so that a missing package leaves no partial export.
    contents = [encode(table) for table in made]
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for path, data in zip(paths, contents, strict=True):
        write_bytes(path, data)
    return paths


# --- rows ---------------------------------------------------------------------------------------------

_BY_ROW = {"cohort", "clients", "refused", "groups"}
_LOCAL = tuple(kind.local.name for kind in KINDS.values())
"""Names of the score of a client's test rows, one per task kind."""


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _round(line: Mapping[str, Any]) -> Row:
    return flat({key: value for key, value in line.items() if key not in _BY_ROW})


def _participation(line: Mapping[str, Any]) -> list[Row]:
    """Builds one row per client of the cohort. `place` is its update's position in the order of aggregation, from 1."""
    positions = {client: position for position, client in enumerate(line["clients"], start=1)}
    return [{"round": line["round"], "client": client, "place": positions.get(client)} for client in line["cohort"]]


def _group_rounds(line: Mapping[str, Any]) -> list[Row]:
    measure = kind_of_scores(line["test"] or ()).local.name
    return [
        {"round": line["round"], "column": column, "group": group, measure: value}
        for column, groups in (line["groups"] or {}).items()
        for group, value in groups.items()
    ]


def _charges(line: Mapping[str, Any]) -> list[Row]:
    """Builds one row per client of the cohort. The whole population's account adds one row without a client."""
    epsilon: Mapping[str, float] = line["epsilon"]
    known = {"round", "clients", "refused", "steps", "epsilon", "own"}
    more = flat({key: value for key, value in line.items() if key not in known})
    rows: list[Row] = [
        {
            "round": line["round"],
            "client": client,
            "steps": steps,
            "refused": False,
            "epsilon": epsilon.get(str(client)),
            **_own(line, str(client)),
        }
        for client, steps in zip(line["clients"], line["steps"], strict=True)
    ]
    rows += [
        {"round": line["round"], "client": client, "steps": None, "refused": True, "epsilon": None}
        for client in line["refused"]
    ]
    if "population" in epsilon:
        population = {"client": None, "steps": None, "refused": None, "epsilon": epsilon["population"]}
        rows.append({"round": line["round"], **population, **_own(line, "population")})
    return [row | more for row in rows]


def _own(line: Mapping[str, Any], account: str) -> Row:
    """Returns what the account spent in this run by itself, on a joint ledger only."""
    return {"own": line["own"].get(account)} if "own" in line else {}


def _clients(
    partition: Mapping[str, Any],
    evaluated: Mapping[str, Any],
    ledger: Iterable[Mapping[str, Any]],
    privacy: Mapping[str, Any] | None,
) -> list[Row]:
    """Builds one row per client, with its data, the final model's scores on its test rows, and its epsilon.

    On a joint ledger, epsilon is that of this run by itself, which is known for every client. There are no rows if the
    run has so many clients that its folder has only tallies.
    """
    epsilons: dict[str, float] = {}
    for line in ledger:
        # A later line replaces a client's earlier epsilon, since epsilon is cumulative.
        epsilons |= line.get("own", line["epsilon"])
    private = privacy is not None and "population" not in epsilons
    column = "own" if privacy and privacy.get("joint") else "epsilon"
    scores = {each["client"]: each for each in evaluated.get("clients", ())}
    rows = []
    for each in partition.get("clients", ()):
        row = flat({key: value for key, value in each.items() if key != "labels"})
        row |= {f"label.{name}": n for name, n in zip(partition["class_names"], each["labels"], strict=False)}
        found = scores.get(each["client"])
        if found is not None:
            row |= {name: found[name] for name in ("n", *_LOCAL) if name in found}
        if private:
            row[column] = epsilons.get(str(each["client"]), 0.0)
        rows.append(row)
    return rows


def _client_groups(client: Mapping[str, Any]) -> list[Row]:
    columns = client["gaps"]
    return [{"client": client["client"], **_measured(name, columns, found)} for name, found in client["groups"].items()]


def _groups(fairness: Mapping[str, Any] | None) -> list[Row]:
    if not fairness:
        return []
    return [_measured(name, fairness["columns"], found) for name, found in fairness["groups"].items()]


def _gaps(fairness: Mapping[str, Any] | None) -> list[Row]:
    if not fairness:
        return []
    return [{"column": column, **_bounded(found)} for column, found in fairness["columns"].items()]


def _measured(name: str, columns: Iterable[str], found: Mapping[str, Any]) -> Row:
    """Builds a row of a group's figures. `name` has the form `sex*race=Female, Black`."""
    # The longest match, because a column's own name may contain `=`.
    column = max((each for each in columns if name.startswith(f"{each}=")), key=len)
    return {"column": column, "group": name.removeprefix(f"{column}="), **_bounded(found)}


def _bounded(found: Mapping[str, Any]) -> Row:
    """Builds a row of figures, each with the ends of its interval as `.low` and `.high`."""
    intervals = found.get("intervals") or {}
    row: Row = {}
    for key, value in flat({key: value for key, value in found.items() if key != "intervals"}).items():
        row[key] = value
        if key in intervals:
            row[f"{key}.low"], row[f"{key}.high"] = intervals[key] or (None, None)
    return row


def _summary(result: Mapping[str, Any]) -> Row:
    """Builds one row of the result, without figures by group and without the descriptions of what was released."""
    shown = {key: value for key, value in result.items() if key != "released"}
    if shown.get("fairness"):
        shown["fairness"] = {key: value for key, value in shown["fairness"].items() if key not in {"groups", "columns"}}
    return flat(shown)


def flat(value: Mapping[str, Any], above: str = "") -> Row:
    """Flattens nested keys into dotted columns, and writes lists as JSON text.

    >>> flat({"round": 1, "test": {"accuracy": 0.5}, "epsilon": None, "layers": [3, 4]})
    {'round': 1, 'test.accuracy': 0.5, 'epsilon': None, 'layers': '[3, 4]'}
    """
    row: Row = {}
    for key, each in value.items():
        if isinstance(each, Mapping):
            row |= flat(each, f"{above}{key}.")
        else:
            row[f"{above}{key}"] = json.dumps(each) if isinstance(each, list) else each
    return row


# --- files --------------------------------------------------------------------------------------------


def _csv(table: ExportTable) -> bytes:
    """Encodes as RFC 4180 in UTF-8. Floats have the fewest digits that read back equal, booleans are true and false."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    columns = table.columns
    writer.writerow(columns)
    for row in table.rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def _parquet(table: ExportTable) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise StudyError(
            "--format parquet needs the package pyarrow; install it with: pip install 'accord[tables]'"
        ) from error
    values = {column: [row.get(column) for row in table.rows] for column in table.columns}
    out = io.BytesIO()
    pq.write_table(pa.table({column: _of_same_type(each) for column, each in values.items()}), out)
    return out.getvalue()


def _of_same_type(values: list[Any]) -> list[Any]:
    """Converts integers to floats where a column has both, and columns of several other kinds to text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1:
        return values
    # A Parquet column has one type.
    make: type = float if kinds == {int, float} else str
    return [None if value is None else make(value) for value in values]
