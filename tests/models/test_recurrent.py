"""Recurrent layers written out give what PyTorch's give, and gradients by sample and client."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import pack_sequence

from accord.core.errors import StudyError
from accord.models.recurrent import PlainGRU, PlainLSTM, PlainRNN, write_out_recurrent

LAYERS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu", "num_layers": 2}),
    (nn.GRU, {}),
    (nn.LSTM, {}),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"bias": False, "batch_first": True},
]


def pair(kind: Any, options: dict[str, Any]) -> tuple[nn.RNNBase, nn.Module]:
    """PyTorch's layer and the same one written out, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        fused = kind(3, 4, dtype=torch.float64, **options)
    return fused, write_out_recurrent(copy.deepcopy(fused))


def parts(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [tensor for part in value for tensor in parts(part)]


def same(one: Any, other: Any) -> None:
    assert len(parts(one)) == len(parts(other))
    for a, b in zip(parts(one), parts(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_outputs_states_and_gradients_are_pytorchs(
    kind: type[nn.RNNBase], options: dict[str, Any], variant: dict[str, Any]
) -> None:
    fused, plain = pair(kind, options | variant)
    x = drawn(5, 6, 3)
    same(plain(x), fused(x))
    assert list(plain.state_dict()) == list(fused.state_dict())
    for layer in (fused, plain):
        sum(part.square().sum() for part in parts(layer(x))).backward()  # type: ignore[union-attr]
    for a, b in zip(plain.parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_a_first_state_and_no_batch_are_taken_as_pytorch_takes_them(
    kind: type[nn.RNNBase], options: dict[str, Any]
) -> None:
    fused, plain = pair(kind, options)
    x = drawn(5, 6, 3)
    _, states = fused(x)
    given = tuple(part + 0.1 for part in states) if isinstance(states, tuple) else states + 0.1
    same(plain(x, given), fused(x, given))
    same(plain(x[:, 0]), fused(x[:, 0]))
    one = tuple(part[:, 0] for part in given) if isinstance(given, tuple) else given[:, 0]
    same(plain(x[:, 0], one), fused(x[:, 0], one))


@pytest.mark.parametrize(("kind", "options"), LAYERS)
def test_gradients_by_sample_are_those_of_one_at_a_time(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    fused, plain = pair(kind, options | {"batch_first": True})
    rows, params = drawn(4, 5, 3), dict(plain.named_parameters())

    def loss(params: dict[str, Tensor], row: Tensor) -> Tensor:
        out, _ = functional_call(plain, params, (row.unsqueeze(0),))
        return out.square().sum()  # type: ignore[no-any-return]

    by_sample = vmap(grad(loss), in_dims=(None, 0))({name: value.detach() for name, value in params.items()}, rows)
    for i, row in enumerate(rows):
        fused.zero_grad()
        fused(row.unsqueeze(0))[0].square().sum().backward()
        for name, value in fused.named_parameters():
            torch.testing.assert_close(by_sample[name][i], value.grad, rtol=1e-10, atol=1e-12)


class Network(nn.Module):
    """A layer that is held twice, inside another, and a subclass of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.rnn, self.lstm = nn.GRU(2, 2), nn.RNN(2, 2), nn.Sequential(nn.LSTM(2, 2))
        self.again, self.own = self.gru, Own(2, 2)


class Own(nn.GRU):
    pass


def test_layers_are_written_out_where_they_stand() -> None:
    network = write_out_recurrent(Network())
    assert isinstance(network, Network)
    assert type(network.gru) is PlainGRU
    assert network.again is network.gru
    assert type(network.rnn) is PlainRNN
    assert type(network.lstm[0]) is PlainLSTM
    assert type(network.own) is Own


def test_packed_sequences_are_refused_by_name() -> None:
    plain = write_out_recurrent(nn.GRU(3, 4))
    with pytest.raises(StudyError, match="packed sequence"):
        plain(pack_sequence([torch.zeros(2, 3), torch.zeros(1, 3)]))
