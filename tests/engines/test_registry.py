"""Engines by name, and the device they work on."""

import pytest
import torch

from accord.config.engine import SequentialEngine, VectorisedEngine
from accord.core.errors import StudyError
from accord.core.streams import Streams, bind
from accord.data.federated import FederatedData
from accord.engines.registry import make_engine, pick_device, reproducible_arithmetic
from accord.engines.sequential import Sequential
from accord.engines.vectorised.engine import Vectorised


def test_each_section_makes_its_engine(federation) -> None:  # type: ignore[no-untyped-def]
    data: FederatedData = federation([10, 30, 7])
    streams: Streams = bind(0, "test")
    for section, kind in (
        (SequentialEngine(name="sequential"), Sequential),
        (VectorisedEngine(name="vectorised"), Vectorised),
    ):
        assert type(make_engine(section, data, streams, torch.device("cpu"))) is kind


def test_device() -> None:
    assert pick_device("cpu").type == "cpu"
    if not torch.cuda.is_available():
        assert pick_device("auto").type == "cpu"
        with pytest.raises(StudyError, match="no CUDA device"):
            pick_device("cuda")


@pytest.mark.parametrize(("name", "kind"), [("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")])
def test_device_of_a_machine_with_cuda(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device(name).type == kind


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # a machine with one core has one from the start
    try:
        with reproducible_arithmetic():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_cudnn_is_deterministic_meanwhile() -> None:
    before = torch.backends.cudnn.deterministic
    with reproducible_arithmetic():
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic == before


@pytest.mark.parametrize("private", [True, False])
def test_algorithms_on_cuda_are_deterministic_or_end_a_private_run(private: bool) -> None:
    with reproducible_arithmetic(torch.device("cuda"), private):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled() != private
        assert not torch.backends.cudnn.allow_tf32
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.allow_tf32
