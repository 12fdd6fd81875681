"""The wheel, built and installed without its dependencies in a fresh environment; and the README's way to get it."""

import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "-q", "-w"]
    subprocess.run([*command, str(folder)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_pages_templates_and_types_are_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "src").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT / "src").as_posix() in names
    assert not [name for name in names if name.startswith(("tests", "studies"))]


@pytest.mark.slow
def test_it_runs_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", "-q", wheel], check=True)
    # Dependencies come from this environment's folders, in which accord itself is but a link that is not followed.
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    folders = [folder for folder in sys.path if folder.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(folders) + "\n")
    accord = tmp_path / "env" / "bin" / "accord"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([accord, "--version"], capture_output=True, text=True, check=True, env=environment)
    assert re.fullmatch(r"accord \d+\.\d+\.\d+\n", done.stdout)
    study = "{data: {name: synthetic, train_rows: 60, test_rows: 30}, partition: {name: iid, num_partitions: 2}, "
    (tmp_path / "s.yaml").write_text(study + "program: {name: fedavg, rounds: 1}, model: logistic}")
    subprocess.run([accord, "run", "s.yaml", "--out", "run"], cwd=tmp_path, check=True, env=environment)
    code = "import accord; print(accord.__file__)"
    there = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert there.stdout.startswith(str(tmp_path))
    assert "<html" in (tmp_path / "run" / "report.html").read_text()


def test_what_the_readme_installs_parses() -> None:
    text = (ROOT / "README.md").read_text()
    (line,) = re.findall(r"^pip install (.*--index-url.*)$", text, re.MULTILINE)
    named, index = re.fullmatch(r'"(.+)" --index-url (\S+)', line).groups()  # type: ignore[union-attr]
    requirement = Requirement(named)
    assert requirement.name == "torch"
    assert index == '"$CPU_INDEX"'
    assert "`CPU_INDEX` is the address" in text
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"{named}"' in project, "the README and pyproject.toml ask for the same PyTorch"


def test_constraints_are_pins_that_meet_what_is_asked_for() -> None:
    import tomllib

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {pin.name.lower().replace("_", "-"): pin for pin in map(Requirement, lines)}
    assert len(pins) == len(lines)
    assert all([each.operator for each in pin.specifier] == ["=="] for pin in pins.values())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        asked = Requirement(text)
        pin = pins[asked.name.lower().replace("_", "-")]
        (version,) = (each.version for each in pin.specifier)
        assert asked.specifier.contains(version), f"{pin} does not meet {asked}"
