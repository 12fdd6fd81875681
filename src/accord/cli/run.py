"""`accord run`: runs a study, or resumes a run."""

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from accord.cli.completion import complete_engine, complete_set
from accord.core.errors import RunFolderError, StudyError

if TYPE_CHECKING:
    from accord.config.schema import Study


def run(
    study: Annotated[
        Path | None, typer.Argument(metavar="STUDY.yaml", help="The study file.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting, such as program.rounds=5. Repeatable.",
            autocompletion=complete_set,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            "--engine",
            metavar="NAME",
            help="Where client work runs; short for --set engine.name=NAME.",
            autocompletion=complete_engine,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run folder; must not exist. [default: runs/STUDY-TIME]"),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            "--ledger", metavar="FILE", help="Charge a ledger that several runs on one data set share; made if missing."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="Take up the run in this folder where it stopped."),
    ] = None,
    resume_or_start: Annotated[
        bool,
        typer.Option(
            "--resume-or-start",
            help="Go on with this study's run in --out where there is one, else start it. [default --out: runs/STUDY]",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what would run, its noise and budget, time and memory; write nothing."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
    profiled: Annotated[bool, typer.Option("--profile", help="Say where the run's time went.")] = False,
    print_schema: Annotated[
        bool,
        typer.Option("--print-schema", help="Print the study file's JSON Schema, for editors, and exit."),
    ] = False,
) -> int:
    """Run a study: train, account, evaluate, and write a run folder with a report.

    Exit codes: 0 done; 2 the request is wrong; 3 stopped early and saved; 1 a fault.
    """
    if print_schema:
        from accord.config.schema import Study

        print(json.dumps(Study.model_json_schema(), indent=2))
        return 0
    overrides = [*(set_ or []), *([f"engine.name={engine}"] if engine else [])]
    if resume is not None:
        if study is not None or overrides or out is not None or ledger is not None or profiled or resume_or_start:
            raise StudyError("--resume goes on with the study saved in the run folder; give it alone")
        return _show(quietly(_resume, resume, quiet), as_json)
    if study is None:
        raise StudyError("name a study file: accord run STUDY.yaml (or --resume RUN)")
    if dry_run:
        if out is not None or ledger is not None or profiled or resume_or_start:
            raise StudyError("--dry-run writes nothing; give it with --set, --engine and --json at most")
        from accord.cli.dry_run import dry_run as show_plan

        return show_plan(study, overrides, as_json)
    asked = _Asked(overrides, out, ledger, profiled, resume_or_start, quiet)
    return _show(quietly(_start, study, asked), as_json)


@dataclass(frozen=True)
class _Asked:
    """The options of the command line for a run."""

    overrides: list[str]
    out: Path | None
    ledger: Path | None
    profiled: bool
    resume_or_start: bool
    quiet: bool


def quietly(work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Calls `work` with stdout redirected to stderr.

    stdout is for the result alone, so that output of a user's own functions goes to stderr.
    """
    with contextlib.redirect_stdout(sys.stderr):
        return work(*arguments)


def load(path: Path, overrides: list[str]) -> "Study":
    """Loads a study file without a sweep. Adds its folder to the import path for a user's own functions.

    Raises:
        StudyError: the study is wrong, or has a sweep.
    """
    from accord.config.load import load_study

    study = load_study(path, overrides)
    if study.sweep is not None:
        raise StudyError(
            f"{path}: the study has a sweep section; run it with: accord sweep {shlex.quote(str(path))}, "
            "or leave the sweep out with --set sweep=null"
        )
    # First on the path, so that a user's module is preferred to an installed one of its name.
    sys.path.insert(0, str(path.resolve().parent))
    return study


def _start(path: Path, asked: _Asked) -> dict[str, Any]:
    # Before the imports, which are part of the wall time that `--profile` reports.
    began = time.perf_counter()
    from accord.cli import profile
    from accord.cli.progress import Progress
    from accord.core.timing import Stopwatch, untimed
    from accord.orchestration.resume_or_start import resume_or_start
    from accord.orchestration.runs import run

    study = load(path, asked.overrides)
    watch = Stopwatch()
    out = asked.out
    # A fixed folder, because one named by the time would not be found again.
    if asked.resume_or_start and out is None:
        out = Path("runs") / path.stem
    with Progress(asked.quiet) as progress:
        timed = watch if asked.profiled else untimed
        if asked.resume_or_start and out is not None:
            ran = resume_or_start(
                study, out, ledger=asked.ledger, name=path.stem, on_round=progress.on_round, timed=timed
            )
        else:
            ran = run(study, out, ledger=asked.ledger, name=path.stem, on_round=progress.on_round, timed=timed)
        result = ran.result or {}
    if not asked.profiled:
        return result
    seconds = profile.profile(watch.seconds, began)
    profile.show(seconds)
    return result | {"profile": seconds}


def _resume(folder: Path, quiet: bool) -> dict[str, Any]:
    from accord.cli.progress import Progress
    from accord.orchestration.runs import resume

    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such run folder")
    with Progress(quiet) as progress:
        return resume(folder, on_round=progress.on_round).result or {}


def _show(result: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(result, allow_nan=False))
    else:
        from accord.cli.console import console
        from accord.records.run_result import RunResult
        from accord.reports.run.terminal import result_table

        console().print(result_table(RunResult.from_json(result)))
        # Flushed, so that in a log what is said on stderr of a run that stopped stands last.
        print(f"report: {Path(result['run']) / 'report.html'}", flush=True)
    if result["status"] == "stopped":
        again = (
            f"; go on with: accord run --resume {shlex.quote(result['run'])}"
            if result["reason"] == "interrupted"
            else ""
        )
        print(f"accord: stopped early and saved: {result['message']}{again}", file=sys.stderr)
        return 3
    return 0
