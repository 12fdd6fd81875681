"""Streams that never raise: real descriptors, replaced in a process of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

from accord.core.output import LenientFile


def python(code: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs code after `make_lenient`, its descriptors redirected by a shell."""
    text = f"import os, sys\nfrom accord.core.output import lost_output, make_lenient, say\nmake_lenient()\n{code}"
    command = ["sh", "-c", f'exec "$0" -c "$1" {shell}', sys.executable, text]
    return subprocess.run(command, capture_output=True, check=False, env=environment or None)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "ε ≤ 3 ± 1 │ — é 漢".encode()),
        ("ascii", b"eps <= 3 +/- 1 | - e ?"),
        ("latin-1", "eps <= 3 ± 1 | - é ?".encode("latin-1")),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(encoding: str, shown: bytes) -> None:
    done = python("print('ε ≤ 3 ± 1 │ — é 漢')", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout.rstrip(b"\n")) == (0, shown)


def test_powers_and_infinity_stay_what_they_are() -> None:
    done = python("print('MB = 2²⁰ bytes, δ = 10⁻⁴, ε = ∞ ←')", PYTHONIOENCODING="ascii")
    assert done.stdout.rstrip(b"\n") == b"MB = 2^20 bytes, delta = 10^-4, eps = inf <-"


def test_a_path_of_undecodable_bytes_is_printed() -> None:
    assert python("print('a\\udcffb')", PYTHONIOENCODING="utf-8").stdout == b"a?b\n"


@pytest.mark.parametrize("shell", [">/dev/full", ">&-", "2>/dev/full", "2>&-", ">/dev/full 2>/dev/full", ">&- 2>&-"])
def test_streams_that_refuse_do_not_change_the_exit_code(shell: str) -> None:
    code = "print('out ' * 9999)\nprint('err', file=sys.stderr)\nsay('said')\nsys.exit(3)"
    assert python(code, shell).returncode == 3


def test_what_was_lost_is_known() -> None:
    done = python("print('out')\nsay(str(lost_output()))", ">/dev/full")
    assert done.stderr.decode().strip() == "No space left on device"
    assert python("print('out')\nsay(str(lost_output()))").stderr.decode().strip() == "None"


def test_a_reader_that_went_away_has_lost_nothing(tmp_path: Path) -> None:
    code = "import time\ntime.sleep(0.5)\nprint('out ' * 99999)\nsay(str(lost_output()))"
    assert python(code, f"| true; cat {tmp_path}/x").stderr.decode().splitlines()[0] == "None"


def test_closed_descriptors_are_not_given_to_the_next_file(tmp_path: Path) -> None:
    code = f"number = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY)\nsys.exit(number)"
    assert python(code, ">&- 2>&- <&-").returncode > 2


def test_output_written_to_a_full_pipe_that_does_not_block_arrives_whole() -> None:
    code = "os.set_blocking(1, False)\nprint('x' * 1_000_000)"
    assert len(python(code, "| (sleep 0.5; cat)").stdout) == 1_000_001


def test_the_first_failure_is_kept() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        file = LenientFile(full.fileno(), "w", closefd=False)
        assert file.write(b"abc") == 3
        first = file.failure
        file.write(b"d")
    assert first is not None
    assert first.strerror == "No space left on device"
    assert file.failure is first
