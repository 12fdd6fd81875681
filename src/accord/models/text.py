"""An LSTM over tokens, written out in matrix products.

S. Hochreiter, J. Schmidhuber. Long Short-Term Memory. Neural Computation 9(8), 1997. The forget gate is that of F.
Gers, J. Schmidhuber, F. Cummins, Learning to Forget, Neural Computation 12(10), 2000. The state is set to zero before
each sequence. PyTorch's fused `nn.LSTM` computes the same, but can be batched neither over clients nor over
per-sample gradients.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from accord.core.errors import StudyError


class LstmLayer(nn.Module):
    """One LSTM layer over a sequence, from `[batch, time, into]` to `[batch, time, hidden]`.

    It has one bias for each gate. `nn.LSTM` has two that are only ever added. They give the same functions, but their
    gradient would count twice when it is clipped. Gates are in the order input, forget, cell, output, as there.

    Attributes:
        input: into the gates, `[4 * hidden, into]` and the bias `[4 * hidden]`.
        recurrent: from the last output, `[4 * hidden, hidden]`.
    """

    def __init__(self, into: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(into, 4 * hidden)
        self.recurrent = nn.Linear(hidden, 4 * hidden, bias=False)
        self.hidden = hidden
        bound = hidden**-0.5
        for value in self.parameters():
            nn.init.uniform_(value, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Computes h_t = o * tanh(c_t), c_t = f * c_(t-1) + i * g, with i, f, g, o from x_t and h_(t-1)."""
        fed = self.input(x)
        # Zeros made from the input, since under vmap they must be batched as it is.
        h = c = torch.zeros_like(fed[:, 0, : self.hidden])
        outputs = []
        for t in range(x.shape[1]):
            i, f, g, o = (fed[:, t] + self.recurrent(h)).chunk(4, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs, dim=1)


class Lstm(nn.Module):
    """Maps tokens `[batch, time]`, int64, to logits `[batch, classes]` from the last layer's last output."""

    def __init__(self, vocabulary: int, classes: int, embedding: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.Sequential(*[LstmLayer(a, b) for a, b in pairwise([embedding, *hidden])])
        self.head = nn.Linear(hidden[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the embedding, the layers and the head."""
        out: Tensor = self.head(self.layers(self.embedding(x))[:, -1])
        return out


def lstm(
    input_shape: Sequence[int],
    classes: int,
    *,
    embedding: int = 8,
    hidden: Sequence[int] = (64,),
    vocabulary: int | None = None,
) -> nn.Module:
    """An LSTM that reads a sequence of tokens and predicts its class, such as the character that comes next.

    With 90 classes and `hidden=(256, 256)` it is the character model of Reddi et al. 2021 (arXiv 2003.00295, after
    McMahan et al. 2017), with 820,522 parameters. Initial values are PyTorch's.

    Args:
        input_shape: `(time,)`.
        classes: the number of labels.
        embedding: the length of a token's vector.
        hidden: width of each LSTM layer, one or more.
        vocabulary: how many different tokens there are. None takes `classes`.

    Returns:
        A module from tokens `[batch, time]`, int64, to logits `[batch, classes]`.

    Raises:
        StudyError: a row is not a sequence.
    """
    if len(input_shape) != 1:
        shape = "x".join(map(str, input_shape))
        raise StudyError(f"model.name: lstm takes sequences of tokens, but the data has {shape}; use data text")
    return Lstm(vocabulary or classes, classes, embedding, hidden)
