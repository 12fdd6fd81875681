"""The process that does the work: real, in the sandbox where there is one; killed, hung and out of memory."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.config.schema import Study
from accord.core.errors import FederationError
from accord.engines.federation.encoding import decode, encode
from accord.orchestration.site_study import sent_study
from accord.sites import worker as worker_module
from accord.sites.bindings import read_binding, site_rows
from accord.sites.refused import RefusedError
from accord.sites.sandbox import Limits
from accord.sites.work import prepare, train
from accord.sites.worker import Worker, WorkerDiedError
from sites.hospitals import PRIVATE, SITES, Hospitals, received, study_of

pytestmark = pytest.mark.slow


@pytest.fixture
def lines() -> list[str]:
    """What the owner's log has."""
    return []


@pytest.fixture
def north(hospitals: Hospitals, lines: list[str]) -> Iterator[Worker]:
    binding = read_binding(hospitals.bindings["north"])
    worker = Worker((binding.path, *binding.paths), Limits(), False, lines.append)
    yield worker
    worker.close()


def read_request(hospitals: Hospitals, study: Study, name: str = "north") -> dict[str, Any]:
    text = sent_study(study)
    return {
        "op": "read",
        "binding": str(hospitals.bindings[name]),
        "data": json.loads(text)["data"],
        "site": name,
        "sites": list(SITES),
    }


def ready(worker: Worker, hospitals: Hospitals, study: Study) -> None:
    worker.call(read_request(hospitals, study))
    worker.call({"op": "prepare", "study": sent_study(study)})


def test_it_does_what_the_work_does_here(hospitals: Hospitals, north: Worker) -> None:
    study = study_of(hospitals, program={"name": "scaffold", "rounds": 2})
    assert north.call(read_request(hospitals, study))[0] == {"rows": 52, "test_rows": 8}
    assert north.call({"op": "prepare", "study": sent_study(study)})[0] == {"steps": 4, "noise_multiplier": None}
    rows = site_rows(read_binding(hospitals.bindings["north"]), received(study).data, "north", SITES)  # type: ignore[arg-type]
    site = prepare(received(study), rows, 1)
    shared, kept = site.own.works.shared[0], b""
    carried: dict[str, torch.Tensor] = {}
    for number in (1, 2):
        values, (update, kept) = north.call({"op": "train", "work": 0, "round": number}, [encode(shared), kept])
        expected = train(site, 0, shared, number, carried)
        carried = expected.carried
        assert values == expected.values
        for name, value in decode(update).items():
            assert torch.equal(value, expected.update[name]), name
    assert north.call({"op": "evaluate", "least_group": 1, "noise": 0.0}, [encode(site.own.task.init())])[0] == {"n": 8}


def test_a_warm_round_costs_little(hospitals: Hospitals, north: Worker) -> None:
    study = study_of(hospitals, training={"batch_size": "full", "local_steps": 1})
    ready(north, hospitals, study)
    shared = encode(prepare_shared(study))
    times = []
    for number in range(1, 31):
        begun = time.perf_counter()
        north.call({"op": "train", "work": 0, "round": number}, [shared, b""])
        times.append(time.perf_counter() - begun)
    assert sorted(times)[15] < 0.02


def prepare_shared(study: Study) -> dict[str, torch.Tensor]:
    from accord.data.sources.sites import stand_in
    from accord.program.study_task import make_task

    return make_task(study.model, stand_in(study.data), study.seed, study.training).init()  # type: ignore[arg-type]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_process_is_a_refusal_and_is_started_anew(
    how: signal.Signals, hospitals: Hospitals, north: Worker
) -> None:
    study = study_of(hospitals)
    ready(north, hospitals, study)
    first = north.pid
    assert first is not None
    os.kill(first, how)
    shared = encode(prepare_shared(study))
    # On a busy machine a signal takes its time, in which the process would answer.
    end = time.monotonic() + 30
    while north.running and time.monotonic() < end:
        time.sleep(0.01)
    with pytest.raises(WorkerDiedError) as refused:
        north.call({"op": "train", "work": 0, "round": 1}, [shared, b""])
    assert refused.value.code == "fault"
    assert not north.running
    ready(north, hospitals, study)
    assert north.pid != first
    north.call({"op": "train", "work": 0, "round": 1}, [shared, b""])


def test_a_deadline_kills(hospitals: Hospitals, north: Worker) -> None:
    study = study_of(hospitals, training={"batch_size": 1, "local_epochs": 10_000})
    ready(north, hospitals, study)
    pid = north.pid
    with pytest.raises(WorkerDiedError, match="took longer"):
        north.call({"op": "train", "work": 0, "round": 1}, [encode(prepare_shared(study)), b""], deadline_s=0.5)
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_request_that_is_broken_off_leaves_no_answer_for_the_next(
    hospitals: Hospitals, north: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However fast the machine reads, it is asked before.
    monkeypatch.setattr("accord.sites.worker._LOOK_S", 0.001)

    def gone() -> bool:
        raise FederationError("the coordinator refuses: revoked")

    with pytest.raises(FederationError, match="revoked"):
        north.call(read_request(hospitals, study_of(hospitals)), alive=gone)
    assert not north.running


def test_too_much_memory_is_a_refusal(hospitals: Hospitals, lines: list[str]) -> None:
    binding = read_binding(hospitals.bindings["north"])
    study = study_of(hospitals, model={"name": "mlp", "hidden": [20_000, 20_000]})
    worker = Worker((binding.path, *binding.paths), Limits(memory_mb=4096), False, lines.append)
    try:
        worker.call(read_request(hospitals, study))
        with pytest.raises(RefusedError) as refused:
            worker.call({"op": "prepare", "study": sent_study(study)}, deadline_s=60)
        assert refused.value.code == "fault"
    finally:
        worker.close()


def test_a_refusal_has_a_code_and_a_line_and_the_owner_the_rest(
    hospitals: Hospitals, north: Worker, lines: list[str], tmp_path: Path
) -> None:
    study = study_of(hospitals)
    wrong = read_request(hospitals, study)
    wrong["data"]["schema"]["ranges"]["age"] = [30, 60]
    with pytest.raises(RefusedError, match="is another here") as refused:
        north.call(wrong)
    assert refused.value.code == "schema"
    with pytest.raises(RefusedError) as refused:
        north.call({**read_request(hospitals, study), "binding": str(tmp_path / "none.yaml")})
    assert (refused.value.code, refused.value.reason) == (
        "fault",
        "the work failed at this site, whose own log has the cause",
    )
    assert "none.yaml" in lines[-1]
    # Refusals are answers: the process is there still.
    assert north.call(read_request(hospitals, study))[0]["rows"] == 52


def test_code_of_a_studys_own_runs_in_a_sandbox_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "has_sandbox", lambda: False)
    with pytest.raises(RefusedError, match="in a sandbox only") as refused:
        Worker((), Limits(), custom=True)
    assert refused.value.code == "code"
    Worker((), Limits(), custom=False)


def test_private_work_does_not_wait_for_a_compiler(hospitals: Hospitals, lines: list[str]) -> None:
    study = study_of(hospitals, privacy={**PRIVATE, "delta": 1e-3})
    binding = read_binding(hospitals.bindings["north"])
    worker = Worker((binding.path, *binding.paths), Limits(), False, lines.append, private=True)
    try:
        worker.call(read_request(hospitals, study))
        begun = time.perf_counter()
        worker.call({"op": "prepare", "study": sent_study(study)})
        # Compiling takes six seconds and more.
        assert time.perf_counter() - begun < 5
        shared = encode(prepare_shared(study))
        one, other = (worker.call({"op": "train", "work": 0, "round": 1}, [shared, b""])[1][0] for _ in range(2))
        assert one != other
    finally:
        worker.close()
