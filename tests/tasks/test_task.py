import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from accord.core.errors import StudyError
from accord.core.streams import isolated_torch
from accord.tasks.task import Task


@pytest.fixture(autouse=True)
def fixed_draws() -> Iterator[None]:
    """The same initial values in every run."""
    with isolated_torch(7, "test"):
        yield


def network() -> nn.Module:
    torch_generator = torch.Generator().manual_seed(3)
    made = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for value in made.parameters():
            value.copy_(torch.randn(value.shape, generator=torch_generator))
    return made


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(8, 4, generator=generator), torch.randint(3, (8,), generator=generator)


def test_losses_are_torchs_cross_entropy_a_row(rows: tuple[Tensor, Tensor]) -> None:
    x, y = rows
    model = nn.Linear(4, 3)
    task = Task(model, classes=3)
    losses = task.losses(task.init(), x, y)
    assert losses.shape == (8,)
    expected = torch.stack([-F.log_softmax(model(x), dim=1)[row, y[row]] for row in range(8)])
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(losses.mean(), nn.CrossEntropyLoss()(model(x), y))


def test_what_is_used_are_the_params_not_the_skeletons_tensors(rows: tuple[Tensor, Tensor]) -> None:
    x, y = rows
    task = Task(nn.Linear(4, 3), classes=3)
    before = copy.deepcopy(task.model.state_dict())
    zeros = {name: torch.zeros_like(value) for name, value in task.init().items()}
    torch.testing.assert_close(task.losses(zeros, x, y), torch.full((8,), torch.log(torch.tensor(3.0)).item()))
    assert all(torch.equal(value, before[name]) for name, value in task.model.state_dict().items())


def test_init_is_a_copy_in_the_dtype_asked_for() -> None:
    task = Task(network(), classes=3)
    values = task.init(torch.float64)
    assert {value.dtype for value in values.values()} == {torch.float64}
    values["0.weight"].fill_(7)
    assert not bool((task.init()["0.weight"] == 7).any())
    assert not any(value.requires_grad for value in values.values())


def test_params_are_parameters_first_then_floating_buffers() -> None:
    task = Task(network(), classes=3)
    assert task.trainable == ("0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias")
    assert task.buffers == ("1.running_mean", "1.running_var")  # num_batches_tracked counts, it does not travel
    assert tuple(task.init()) == task.trainable + task.buffers
    assert task.keeps_statistics()
    assert not Task(nn.Linear(4, 3), classes=3).keeps_statistics()


def test_frozen_parameters_travel_but_are_not_trained() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    model[0].requires_grad_(False)
    task = Task(model, classes=3)
    assert task.trainable == ("1.weight", "1.bias")
    assert tuple(task.init()) == ("1.weight", "1.bias", "0.weight", "0.bias")


def test_training_updates_batch_norms_buffers_in_the_params(rows: tuple[Tensor, Tensor]) -> None:
    x, _ = rows
    task = Task(network(), classes=3)
    values = task.init()
    oracle = network().train()
    torch.testing.assert_close(task.logits(values, x), oracle(x))
    torch.testing.assert_close(values["1.running_mean"], oracle.get_buffer("1.running_mean"))
    torch.testing.assert_close(values["1.running_var"], oracle.get_buffer("1.running_var"))
    assert not torch.equal(values["1.running_mean"], task.init()["1.running_mean"])


def test_evaluation_uses_the_params_buffers_and_changes_nothing(rows: tuple[Tensor, Tensor]) -> None:
    x, _ = rows
    task = Task(network(), classes=3)
    values = task.init()
    task.logits(values, x)
    before = {name: value.clone() for name, value in values.items()}
    oracle = network().train()
    oracle(x)
    torch.testing.assert_close(task.predict(values, x), oracle.eval()(x))
    torch.testing.assert_close(task.predict(values, x[:1]), oracle(x)[:1])
    assert all(torch.equal(value, before[name]) for name, value in values.items())


def test_gradients_flow_to_the_params(rows: tuple[Tensor, Tensor]) -> None:
    x, y = rows
    model = nn.Linear(4, 3)
    task = Task(model, classes=3)
    gradient = torch.func.grad(lambda values: task.losses(values, x, y).sum())(task.init())
    F.cross_entropy(model(x), y, reduction="sum").backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(gradient["weight"], model.weight.grad)
    torch.testing.assert_close(gradient["bias"], model.bias.grad)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Dropout(0.5),
        nn.Dropout2d(0.1),
        nn.AlphaDropout(0.1),
        nn.LSTM(4, 4, num_layers=2, dropout=0.2),
        nn.MultiheadAttention(4, 2, dropout=0.1),
    ],
)
def test_dropout_is_refused_with_its_place(layer: nn.Module) -> None:
    with pytest.raises(StudyError) as caught:
        Task(nn.Sequential(nn.Linear(4, 4), nn.Sequential(layer)), classes=4)
    assert str(caught.value) == ("model: layer '1.0' is dropout, whose draws come from no named stream; set its p to 0")


@pytest.mark.parametrize("layer", [nn.Dropout(0.0), nn.LSTM(4, 4), nn.MultiheadAttention(4, 2), nn.BatchNorm1d(4)])
def test_layers_that_draw_nothing_are_taken(layer: nn.Module) -> None:
    Task(nn.Sequential(nn.Linear(4, 4), layer), classes=4)


def test_batch_norm_without_momentum_is_refused() -> None:
    with pytest.raises(StudyError, match=r"^model: batch norm '1' needs a momentum"):
        Task(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, momentum=None)), classes=4)


@pytest.mark.parametrize("model", [nn.Flatten(), nn.Linear(4, 3).requires_grad_(False)])
def test_a_model_with_nothing_to_train_is_refused(model: nn.Module) -> None:
    with pytest.raises(StudyError, match=r"^model: no parameter requires a gradient, so there is nothing to train$"):
        Task(model, classes=3)


def test_tokens_are_tried_as_tokens() -> None:
    task = Task(nn.Sequential(nn.Embedding(2, 3), nn.Flatten(), nn.Linear(12, 2)), 2)
    assert not task.remembers((4,), np.random.default_rng(0), tokens=True)
