"""The compiled loop itself: what it is kept by, and steps without a row."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from accord.engines.compiled import columns, layers, moves, products, training
from accord.engines.compiled.client import Trainer, one_thread_a_product
from accord.engines.compiled.network import FLAT
from accord.privacy import noise, normals
from accord.streams import bind
from accord.timing import untimed
from engines.compiled.test_client import laid_out, make_data, make_work, plan


def test_what_is_kept_goes_by_every_file_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before = training._sources()
    assert before == training._sources()
    for module in (columns, layers, moves, products, normals):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__file__", __file__)
            assert training._sources() != before, module


@pytest.mark.parametrize("name", ["wide", "convolutions"])
def test_a_step_without_rows_adds_its_noise_alone(name: str) -> None:
    work = make_work(name, plan=plan())
    data, shared = make_data({"wide": (300,), "convolutions": (1, 12, 11)}[name]), work.task.init()
    network = laid_out(work, tuple(data.data.train.x.shape[1:]))
    flat = torch.zeros(1, network.numbers)
    trainer = Trainer(work, network, data.data.train, untimed)
    with one_thread_a_product():
        trainer.train(np.full((2, 3), -1), np.zeros(2, dtype=np.int64), 23, flat[0], bind(9)("noise", 1, 1))
    stream, expected = bind(9)("noise", 1, 1), None
    for _ in range(2):
        drawn = noise.gaussian(stream, shared, plan().noise_std * 0.2 / 8)
        expected = drawn if expected is None else {key: expected[key] + drawn[key] for key in drawn}
    assert expected is not None
    for key, value in network.leave({FLAT: flat}).items():
        assert torch.allclose(-value[0], expected[key], atol=1e-7)


def test_rows_at_once_change_rounding_alone() -> None:
    work = make_work("wide", plan=plan())
    data = make_data((300,))
    network = laid_out(work, (300,))
    rows = np.arange(17, 40)[np.newaxis]
    found = []
    for micro in (23, 5):
        flat = network.enter({key: value.unsqueeze(0) for key, value in work.task.init().items()})[FLAT]
        trainer = Trainer(work, replace(network, micro=micro), data.data.train, untimed)
        with one_thread_a_product():
            trainer.train(rows, np.array([23]), 23, flat[0], bind(9)("noise", 1, 1))
        found.append(flat)
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert not torch.equal(found[0], found[1])
