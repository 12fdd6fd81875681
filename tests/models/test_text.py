from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from accord.config.load import make_study
from accord.core.errors import StudyError
from accord.core.params import Params, count
from accord.core.streams import isolated_torch
from accord.models.text import Lstm, LstmLayer, lstm
from fixed_rounds import played


def fused(network: Lstm, x: Tensor) -> Tensor:
    """PyTorch's LSTM with the network's weights; its second bias is zero."""
    y = network.embedding(x)
    for layer in network.layers:
        assert isinstance(layer, LstmLayer)
        other = nn.LSTM(layer.input.in_features, layer.hidden, batch_first=True, dtype=y.dtype)
        bias = layer.input.bias
        weights = [layer.input.weight, layer.recurrent.weight, bias, torch.zeros_like(bias)]
        other.load_state_dict(dict(zip(other.state_dict(), weights, strict=True)))
        y = other(y)[0]
    out: Tensor = network.head(y[:, -1])
    return out


def made(hidden: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Lstm:
    with isolated_torch(5, "test"):
        network = lstm((7,), 5, embedding=3, hidden=hidden, vocabulary=11)
        for value in network.parameters():
            nn.init.normal_(value, std=0.7)
    assert isinstance(network, Lstm)
    return network.to(dtype)


@pytest.mark.parametrize("hidden", [(4,), (6, 4), (2, 3, 4)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_the_same_as_pytorchs_fused_lstm(hidden: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    network = made(hidden, dtype)
    x = torch.from_numpy(np.random.default_rng(0).integers(11, size=(9, 7)))
    torch.testing.assert_close(network(x), fused(network, x), rtol=tolerance, atol=tolerance)


def test_gradients_by_sample_and_client_are_those_of_one_at_a_time() -> None:
    network = made((4, 3))
    with isolated_torch(6, "test"):
        x, y = torch.randint(11, (2, 5, 7)), torch.randint(5, (2, 5))
    own = {name: value.detach() for name, value in network.named_parameters()}
    clients = {name: torch.stack([value, 1.5 * value]) for name, value in own.items()}

    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, params, (x[None],)), y[None])

    stacked = vmap(vmap(grad(loss), in_dims=(None, 0, 0)))(clients, x, y)
    for client in range(2):
        mine = {name: value[client] for name, value in clients.items()}
        for row in range(5):
            alone = grad(loss)(mine, x[client, row], y[client, row])
            for name, value in alone.items():
                torch.testing.assert_close(stacked[name][client, row], value, rtol=1e-9, atol=1e-12)


def test_the_published_number_of_parameters() -> None:
    assert count(dict(lstm((80,), 90, embedding=8, hidden=(256, 256)).named_parameters())) == 820_522


def test_the_vocabulary_is_the_classes_where_none_is_given() -> None:
    network = lstm((4,), 6)
    assert isinstance(network, Lstm)
    assert network.embedding.num_embeddings == 6
    assert network(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 6)


def test_initial_values_are_those_of_pytorch() -> None:
    """Uniform within 1 / sqrt(hidden), as `nn.LSTM` draws its own."""
    with isolated_torch(5, "test"):
        layer = LstmLayer(40, 25)
    for value in (parameter.detach() for parameter in layer.parameters()):
        assert 0.95 * 0.2 < float(value.abs().max()) <= 0.2
        assert float(value.std()) == pytest.approx(0.2 / 3**0.5, rel=0.1)


def test_the_last_character_and_the_first_both_count() -> None:
    network = made((4,))
    x = torch.zeros(3, 7, dtype=torch.int64)
    x[1, 0], x[2, -1] = 1, 1
    assert len(network(x).unique(dim=0)) == 3


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 2)])
def test_what_is_no_sequence_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match="lstm takes sequences of tokens, but the data has"):
        lstm(shape, 5)


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("privacy", [None, {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}])
def test_both_engines_train_it_alike(privacy: dict[str, Any] | None) -> None:
    results, before = {}, {}
    for engine in ("vectorised", "sequential"):
        study = make_study(
            {
                "data": {"name": "text", "speakers": 3, "sentences": 20, "sequence_length": 6},
                "partition": {"name": "natural", "partition_by": "speaker"},
                "model": {"name": "lstm", "hidden": [4]},
                "training": {"batch_size": 4, "local_steps": 2, "dtype": "float64"},
                "program": {"name": "fedavg", "rounds": 1, "cohort_size": 2},
                "privacy": privacy,
                "engine": {"name": engine},
            }
        )
        prepared, results[engine], _ = played(study)
        before = prepared.initial
    for name, value in results["sequential"].items():
        torch.testing.assert_close(results["vectorised"][name], value, rtol=1e-9, atol=1e-9)
        assert not torch.equal(value, before[name])
