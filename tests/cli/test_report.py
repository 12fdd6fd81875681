"""`accord report`: draws the report again from the records."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_report_is_drawn_again(cli: Callable[..., Any], study_file: Callable[..., Path]) -> None:
    assert cli("run", study_file(), "--out", "there", "--json").code == 0
    before = Path("there/report.html").read_bytes()
    Path("there/report.html").unlink()
    said = cli("report", "there")
    assert (said.code, said.out) == (0, "there/report.html\n")
    assert Path("there/report.html").read_bytes() == before


def test_what_is_no_run_is_one_line(cli: Callable[..., Any]) -> None:
    said = cli("report", "nowhere")
    assert said.code == 2
    assert said.err == "accord: nowhere: not a run folder (it has no study.yaml)\n"
