"""PyTorch's recurrent layers written out in matrix products, with their own parameters and the same results.

`nn.RNN`, `nn.GRU` and `nn.LSTM` run fused kernels that have no batching rule, so they have no gradients by sample or
client. Layers that are written out step by step have them. A network with them trains under unit `sample` and is
stacked over clients. Parameters keep their names, so weights are saved and loaded as usual.

J. L. Elman. Finding Structure in Time. Cognitive Science 14(2), 1990. K. Cho et al. Learning Phrase Representations
using RNN Encoder-Decoder. EMNLP 2014, arXiv 1406.1078. S. Hochreiter, J. Schmidhuber. Long Short-Term Memory. Neural
Computation 9(8), 1997. The equations are those of PyTorch's documentation of each layer.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from accord.core.errors import StudyError

State = tuple[Tensor, ...]
"""What a layer passes from step to step, each `[batch, hidden]`: h, and c for an LSTM."""


def _rnn_step(layer: nn.RNNBase, fed: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    """Computes h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or ReLU instead of tanh."""
    total = fed + _recur(state[0], weights)
    return (torch.relu(total) if layer.mode == "RNN_RELU" else torch.tanh(total),)


def _gru_step(layer: nn.RNNBase, fed: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    """Computes h' = (1 - z) n + z h, where the reset gate r scales what n sees of h after its bias."""
    (h,) = state
    # PyTorch packs the gates in the order reset, update, new.
    fed_r, fed_z, fed_n = fed.chunk(3, dim=-1)
    back_r, back_z, back_n = _recur(h, weights).chunk(3, dim=-1)
    z = torch.sigmoid(fed_z + back_z)
    n = torch.tanh(fed_n + torch.sigmoid(fed_r + back_r) * back_n)
    return ((1 - z) * n + z * h,)


def _lstm_step(layer: nn.RNNBase, fed: Tensor, state: State, weights: Sequence[Tensor | None]) -> State:
    """Computes c' = f c + i g and h' = o tanh(c'), projected where the layer has a projection."""
    h, c = state
    # PyTorch packs the gates in the order input, forget, cell, output.
    i, f, g, o = (fed + _recur(h, weights)).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    projection = weights[4]
    return (h if projection is None else F.linear(h, projection)), c


def _recur(h: Tensor, weights: Sequence[Tensor | None]) -> Tensor:
    _, recurrent, _, bias, _ = weights
    if recurrent is None:
        raise ValueError("a recurrent layer needs recurrent weights")
    return F.linear(h, recurrent, bias)


_STEPS = {"RNN_TANH": _rnn_step, "RNN_RELU": _rnn_step, "GRU": _gru_step, "LSTM": _lstm_step}


class _Plain(nn.RNNBase):
    """Any of the three layers, step by step. Inputs and outputs are those of PyTorch's layer."""

    def forward(self, x: Tensor, hx: Tensor | State | None = None, /) -> tuple[Tensor, Tensor | State]:
        """Returns the outputs of the last layer, and the last state of every layer and direction.

        Args:
            x: `[time, batch, features]`, `[batch, time, features]` where `batch_first`, or without the batch.
            hx: the first state as PyTorch takes it, a pair for an LSTM. None takes zeros.
        """
        if isinstance(x, PackedSequence):
            raise StudyError("model: a packed sequence goes through no recurrent layer here; pad rows to one length")
        batched = x.dim() == 3
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        firsts = self._first_states(x, hx, batched)
        lasts: list[State] = []
        for layer in range(self.num_layers):
            sides = []
            for side in range(2 if self.bidirectional else 1):
                out, last = self._one_direction(x, layer, side, firsts[len(lasts)])
                sides.append(out)
                lasts.append(last)
            x = torch.cat(sides, dim=-1)
        states = tuple(torch.stack([last[i] for last in lasts]) for i in range(len(lasts[0])))
        if not batched:
            x, states = x.squeeze(1), tuple(state.squeeze(1) for state in states)
        elif self.batch_first:
            x = x.transpose(0, 1)
        return x, states if self.mode == "LSTM" else states[0]

    def _one_direction(self, x: Tensor, layer: int, side: int, state: State) -> tuple[Tensor, State]:
        """Runs one layer in one direction, and returns `[time, batch, hidden]` and the state after the last step."""
        suffix = f"_l{layer}{'_reverse' if side else ''}"
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        weights: list[Tensor | None] = [getattr(self, name + suffix, None) for name in names]
        if weights[0] is None:
            raise ValueError(f"no weights weight_ih{suffix}")
        # The input's part of all steps is one product. Only the recurrent part has to go step by step.
        fed = F.linear(x, weights[0], weights[2])
        steps = range(len(fed) - 1, -1, -1) if side else range(len(fed))
        step, outputs = _STEPS[self.mode], {}
        for t in steps:
            state = step(self, fed[t], state, weights)
            outputs[t] = state[0]
        return torch.stack([outputs[t] for t in range(len(fed))]), state

    def _first_states(self, x: Tensor, hx: Tensor | State | None, batched: bool) -> list[State]:
        """Returns the first state of each layer and direction."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            # Zeros made from the input, since under vmap they must be batched as it is.
            nothing = torch.zeros_like(x[0, :, :1])
            h = nothing.expand(-1, self.proj_size or self.hidden_size)
            first = (h, nothing.expand(-1, self.hidden_size)) if self.mode == "LSTM" else (h,)
            return [first] * count
        given = hx if isinstance(hx, tuple) else (hx,)
        parts = [part if batched else part.unsqueeze(1) for part in given]
        return [tuple(part[i] for part in parts) for i in range(count)]


class PlainRNN(_Plain, nn.RNN):  # type: ignore[misc]
    """`nn.RNN`, written out."""


class PlainGRU(_Plain, nn.GRU):  # type: ignore[misc]
    """`nn.GRU`, written out."""


class PlainLSTM(_Plain, nn.LSTM):  # type: ignore[misc]
    """`nn.LSTM`, written out."""


_PLAIN: dict[type[nn.Module], type[nn.Module]] = {nn.RNN: PlainRNN, nn.GRU: PlainGRU, nn.LSTM: PlainLSTM}


def write_out_recurrent(model: nn.Module) -> nn.Module:
    """Writes out the network's recurrent layers. Everything else, and every parameter, stays as it is.

    Classes are changed in place, so that a layer that the network uses in several places stays one. A user's own
    subclass of a layer, whose `forward` may differ, is not changed.

    Args:
        model: the network, which is changed in place.
    """
    for module in model.modules():
        if type(module) in _PLAIN:
            module.__class__ = _PLAIN[type(module)]
    return model
