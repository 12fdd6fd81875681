"""Code of a study's own that the owner approved: found in the sandbox, with its own modules and nothing beside them."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from accord.core.user_code import read_code
from accord.engines.federation.encoding import encode
from accord.sites.bindings import read_binding, site_rows
from accord.sites.sandbox import has_sandbox
from accord.sites.work import prepare
from accord.transport.messages import Answer, Job
from sites.court import Court
from sites.hospitals import SITES, Hospitals, received
from sites.in_memory import task_of

FUNCTION = "reviewed_nets.small:network"
NETWORK = """from pathlib import Path

from torch import nn

from reviewed_parts import WIDTH
from reviewed_nets import DEPTH

if Path.cwd() == Path("/tmp"):  # in the sandbox
    beside = Path(__file__).parents[1]
    seen = sorted(path.name for path in beside.rglob("*.*"))
    if seen != ["__init__.py", "reviewed_parts.py", "small.py"]:
        raise RuntimeError(f"more can be seen than was reviewed: {seen}")


def network(input_shape, classes):
    return nn.Sequential(nn.Linear(input_shape[0], WIDTH), nn.Tanh(), nn.Linear(WIDTH, classes))
"""


@pytest.fixture
def court(hospitals: Hospitals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Court]:
    if not has_sandbox():
        pytest.skip("code of a study's own runs in a sandbox only; apt-get install bubblewrap")
    code = tmp_path / "site" / "code"
    (code / "reviewed_nets").mkdir(parents=True)
    (code / "reviewed_nets" / "__init__.py").write_text("DEPTH = 2\n")
    (code / "reviewed_nets" / "small.py").write_text(NETWORK)
    (code / "reviewed_parts.py").write_text("WIDTH = 4\n")
    (code / "owners.txt").write_text("not for studies")
    (code / "owners.py").write_text("NAMES = ['not for studies']\n")
    monkeypatch.syspath_prepend(str(code))
    made_here = Court(tmp_path / "site", hospitals)
    made_here.rule["models"] = ["custom"]
    made_here.rule["settings"] = {"model.settings": {"one_of": [None]}}
    yield made_here
    made_here.close()
    for name in [name for name in sys.modules if name.startswith("reviewed_")]:
        del sys.modules[name]


def job_with(court: Court) -> Job:
    digest = read_code([FUNCTION]).digest
    court.rule["code"] = {FUNCTION: digest}
    court.sign()
    job = court.job(model={"name": "custom", "function": FUNCTION})
    return replace(job, code={FUNCTION: digest})


@pytest.mark.slow
def test_a_reviewed_network_trains_in_the_sandbox(court: Court, hospitals: Hospitals) -> None:
    job = job_with(court)
    said = court.ask(job, task_of(job, "plan"))
    assert isinstance(said, Answer), (said, court.log)
    study = received(court.study(model={"name": "custom", "function": FUNCTION}))
    rows = site_rows(read_binding(hospitals.bindings["north"]), study.data, "north", SITES)  # type: ignore[arg-type]
    shared = encode(prepare(study, rows, 1).own.initial)
    said = court.train(job, 1, shared)
    assert isinstance(said, Answer), (said, court.log)
    assert court.charges() == 1
    assert len(court.coordinator.results[-1]) > 100


@pytest.mark.slow
def test_an_edit_of_a_module_that_it_imports_is_refused_before_a_charge(court: Court) -> None:
    job = job_with(court)
    assert isinstance(court.ask(job, task_of(job, "plan")), Answer)
    (court.folder / "code" / "reviewed_parts.py").write_text("WIDTH = 5\n")
    said = court.train(job)
    assert (said.code, court.charges()) == ("code", 0)
    assert said.reason == f"{FUNCTION} is another at this site than the one that was approved"


def test_only_the_users_own_files_are_named_with_the_folder_that_they_are_imported_from(court: Court) -> None:
    found, code = read_code([FUNCTION]), court.folder / "code"
    assert set(found.files.values()) == {
        code / "reviewed_nets" / "__init__.py",
        code / "reviewed_nets" / "small.py",
        code / "reviewed_parts.py",
    }
    assert found.folders == (code,)
