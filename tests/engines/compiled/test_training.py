"""The compiled loop itself: what it is kept by, and steps without a row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from accord.core import params as p
from accord.core.streams import bind
from accord.core.timing import untimed
from accord.data.federated import Table
from accord.engines.compiled import layer_table, layers, products, training, vector_copy
from accord.engines.compiled.client import Trainer, single_threaded_blas
from accord.engines.compiled.network import FLAT, compile_network
from accord.engines.stacked.network import stack_network
from accord.privacy import chacha_normals, clipping, noise
from accord.tasks.task import Task
from engines.compiled.test_client import laid_out, make_data, make_work, plan
from released import coarse_step, released, widened


def test_what_is_kept_goes_by_every_file_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before = training._sources()
    assert before == training._sources()
    for module in (layer_table, layers, vector_copy, products, chacha_normals, clipping):
        with monkeypatch.context() as patch:
            patch.setattr(module, "__file__", __file__)
            assert training._sources() != before, module
    # The cache's file has the digest in its name.
    assert before[:16] in training.train.py_func.__qualname__


@pytest.mark.parametrize("name", ["wide", "convolutions"])
def test_a_step_without_rows_adds_its_noise_alone(name: str) -> None:
    work = make_work(name, plan=plan())
    data, shared = make_data({"wide": (300,), "convolutions": (1, 12, 11)}[name]), work.task.init()
    network = laid_out(work, tuple(data.data.train.x.shape[1:]))
    flat = torch.zeros(1, network.numbers)
    trainer = Trainer(work, network, data.data.train, untimed)
    with single_threaded_blas():
        trainer.train(np.full((2, 3), -1), np.zeros(2, dtype=np.int64), 23, flat[0], bind(9)("noise", 1, 1))
    stream, expected = bind(9)("noise", 1, 1), p.zeros_like(shared)
    std = widened(0.7 * 0.5, 0.7, network.numbers)
    for _ in range(2):
        alone = released(p.zeros_like(shared), noise.gaussian(stream, shared, std), std)
        expected = p.add(expected, alone, -0.2 / 8)
    for key, value in network.leave({FLAT: flat}).items():
        torch.testing.assert_close(value[0], expected[key], rtol=1e-6, atol=1e-8)


def test_rows_at_once_change_rounding_alone() -> None:
    work = make_work("wide", plan=plan())
    data = make_data((300,))
    network = laid_out(work, (300,))
    rows = np.arange(17, 40)[np.newaxis]
    found = []
    for micro in (23, 5):
        flat = network.enter({key: value.unsqueeze(0) for key, value in work.task.init().items()})[FLAT]
        trainer = Trainer(work, replace(network, micro=micro), data.data.train, untimed)
        with single_threaded_blas():
            trainer.train(rows, np.array([23]), 23, flat[0], bind(9)("noise", 1, 1))
        found.append(flat)
    # A sum near the edge of a cell may fall to either side.
    assert torch.allclose(found[0], found[1], atol=1.01 * coarse_step(plan().noise_std) * 0.2 / 8)
    assert float((found[0] == found[1]).float().mean()) > 0.9


@pytest.mark.parametrize(("clip_norm", "value"), [(1e-12, 5.4e32), (1e-7, 5.7e37), (1e-6, 2.2e38), (0.5, 1e10)])
def test_a_huge_input_beside_a_tiny_slope_is_clipped_all_the_same(clip_norm: float, value: float) -> None:
    """Scaled down, such a slope would leave float32's precision."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([60.0, 0.0]))
    model = nn.Sequential(layer)
    work = make_work("softmax", task=Task(model, 2), plan=plan(clip_norm))
    stacked = stack_network(model, 1, by_sample=True)
    assert stacked is not None
    network = compile_network(stacked, (4,), 2, by_sample=True)
    assert network is not None
    trainer = Trainer(work, network, Table(torch.full((2, 4), value), torch.tensor([0, 0])), untimed)
    flat = network.enter({key: tensor.unsqueeze(0) for key, tensor in work.task.init().items()})[FLAT]
    scratch = trainer._scratch(1, summed=True)
    nothing = np.empty((0, 8), dtype=np.uint32)
    trainer._run(np.array([[0]]), np.array([1]), 1.0, flat[0], nothing, scratch, training.SUM)
    assert np.sqrt((scratch.total.astype(np.float64) ** 2).sum()) <= clip_norm
