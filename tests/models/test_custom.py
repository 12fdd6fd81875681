import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from torch import nn

from accord.core.errors import StudyError
from accord.models.custom import custom
from accord.models.recurrent import PlainGRU

SOURCE = """
import torch
from torch import nn
from torch.nn import functional as F

def good(input_shape, classes, width=4):
    if width < 0:
        raise ValueError("width must not be negative")
    flat = 1
    for size in input_shape:
        flat *= size
    return nn.Sequential(nn.Flatten(), nn.Linear(flat, width), nn.BatchNorm1d(width), nn.Linear(width, classes))

def lazy(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))

def double(input_shape, classes):
    return good(input_shape, classes).double()

def no_module(input_shape, classes):
    return [1, 2]

def wrong_classes(input_shape, classes):
    return good(input_shape, classes + 1)

def wrong_input(input_shape, classes):
    return nn.Linear(99, classes)

class Forward(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear

class Tuple(Forward):
    def forward(self, x):
        out = self.linear(x.flatten(1))
        return (out, out) if self.training else out

class Dropping(Forward):
    def forward(self, x):
        return F.dropout(self.linear(x.flatten(1)), 0.5, self.training)

class Broken(Forward):
    def forward(self, x):
        return self.linear(x.flatten(1))[{}]

def pair(input_shape, classes):
    return Tuple(nn.LazyLinear(classes))

class Recurrent(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.gru(x.flatten(0, 1))[0][:, -1])

def recurrent(input_shape, classes):
    return Recurrent(classes)

def dropping(input_shape, classes):
    return Dropping(nn.LazyLinear(classes))

def broken(input_shape, classes):
    return Broken(nn.LazyLinear(classes))
"""
SHAPE = (1, 4, 4)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with the user's module; it is forgotten afterwards."""
    (tmp_path / "mine_networks.py").write_text(dedent(SOURCE))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("mine_")]:
        del sys.modules[name]


def make(function: str, **settings: Any) -> nn.Module:
    return custom(SHAPE, 3, function=f"mine_networks:{function}", settings=settings)


def test_the_function_gets_shape_classes_and_settings() -> None:
    network = make("good", width=7)
    assert network(torch.zeros(5, *SHAPE)).shape == (5, 3)
    assert network.get_parameter("1.weight").shape == (7, 16)


def test_trying_it_out_leaves_no_trace() -> None:
    network = make("good")
    assert network.training
    assert int(network.get_buffer("2.num_batches_tracked")) == 0
    assert not bool(network.get_buffer("2.running_mean").any())
    assert all(value.grad is None for value in network.parameters())


@pytest.mark.parametrize("function", ["lazy", "double"])
def test_lazy_layers_take_shape_and_any_precision_will_do(function: str) -> None:
    assert sum(value.numel() for value in make(function).parameters()) > 16


@pytest.mark.parametrize(
    ("function", "settings", "expected"),
    [
        (
            "good",
            {"wdith": 3},
            "fails when called with input_shape, classes, wdith: TypeError: good() got an unexpected "
            "keyword argument 'wdith'",
        ),
        ("good", {"classes": 3}, "fails when called with input_shape, classes, classes: TypeError: "),
        (
            "good",
            {"width": -1},
            "fails when called with input_shape, classes, width: ValueError: width must not be negative",
        ),
        ("good", {"width": "x"}, "fails when called with input_shape, classes, width: TypeError: "),
        ("no_module", {}, "must return a torch.nn.Module, but returned a list"),
        (
            "wrong_classes",
            {},
            "its network must map [2, 1, 4, 4] to logits of shape [2, 3], but gives [2, 4] in evaluation mode",
        ),
        ("wrong_input", {}, "its network fails on input of shape [2, 1, 4, 4] in evaluation mode: RuntimeError: mat1"),
        ("broken", {}, "its network fails on input of shape [2, 1, 4, 4] in evaluation mode: IndexError: "),
        (
            "pair",
            {},
            "its network must map [2, 1, 4, 4] to logits of shape [2, 3], but gives a tuple in training mode",
        ),
        (
            "dropping",
            {},
            "its network draws random numbers while training (dropout?), from no named stream; build it without",
        ),
    ],
)
def test_what_is_refused_in_one_line(function: str, settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        make(function, **settings)
    message = str(caught.value)
    assert message.startswith(f"model.function 'mine_networks:{function}': {expected}")
    assert len(message.splitlines()) == 1


def test_a_function_that_is_not_there() -> None:
    with pytest.raises(StudyError, match=r"^model.function: module 'mine_networks' has no function 'nowhere'$"):
        make("nowhere")


def test_recurrent_layers_are_written_out() -> None:
    network = make("recurrent")
    gru, head = network.get_submodule("gru"), network.get_submodule("head")
    assert type(gru) is PlainGRU
    fused = nn.GRU(4, 6, batch_first=True)
    fused.load_state_dict(gru.state_dict())
    x = torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(network(x), head(fused(x.flatten(0, 1))[0][:, -1]))
