import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from accord.config.load import make_study
from accord.core.errors import StudyError
from accord.core.params import Params, count
from accord.core.streams import isolated_torch
from accord.models.resnet import resnet18
from fixed_rounds import played


def parameters(channels: int, classes: int, width: int, stem: int) -> int:
    """By hand: a convolution has k * k * in * out weights and no bias, a norm 2 numbers a channel."""
    total = stem**2 * channels * width + 2 * width
    for into, out in itertools.pairwise([width, width, 2 * width, 4 * width, 8 * width]):
        total += 9 * into * out + 3 * 9 * out * out + 4 * 2 * out  # two blocks of two convolutions and norms
        total += into * out + 2 * out if into != out else 0  # the shortcut's 1x1 convolution and norm
    return total + (8 * width + 1) * classes


def test_the_published_number_of_parameters() -> None:
    assert count(dict(resnet18((3, 32, 32), 10).named_parameters())) == 11_173_962
    imagenet = resnet18((3, 224, 224), 1000, stem="imagenet")
    assert count(dict(imagenet.named_parameters())) == 11_689_512  # torchvision's resnet18


@pytest.mark.parametrize(("channels", "width", "groups"), [(1, 4, 2), (3, 4, 1), (3, 6, 3), (1, 8, 8)])
@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_parameter_counts_of_other_sizes(channels: int, width: int, groups: int, stem: str) -> None:
    network = resnet18((channels, 9, 9), 5, stem=stem, groups=groups, width=width)  # type: ignore[arg-type]
    size = 3 if stem == "small" else 7
    assert count(dict(network.named_parameters())) == parameters(channels, 5, width, size)
    assert parameters(3, 10, 64, 3) == 11_173_962
    assert not dict(network.named_buffers())


def normed(x: Tensor, weight: Tensor, bias: Tensor, groups: int) -> Tensor:
    """Group norm by its definition (Wu & He 2018, eq. 1 to 6)."""
    parts = x.reshape(len(x), groups, -1)
    mean = parts.mean(2, keepdim=True)
    scaled = (parts - mean) / (parts.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return scaled.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]


def naive(w: Params, x: Tensor, groups: int, stem: str) -> Tensor:
    """Table 1 of He et al., layer by layer, on the network's own values."""

    def norm(y: Tensor, name: str) -> Tensor:
        return normed(y, w[f"{name}.weight"], w[f"{name}.bias"], groups)

    if stem == "small":
        y = F.conv2d(x, w["conv1.weight"], padding=1)
    else:
        y = F.conv2d(x, w["conv1.weight"], stride=2, padding=3)
    y = norm(y, "bn1").clamp(min=0)
    if stem == "imagenet":
        y = F.max_pool2d(y, 3, stride=2, padding=1)
    for stage, block in itertools.product(range(1, 5), range(2)):
        at = f"layer{stage}.{block}"
        stride = 2 if stage > 1 and block == 0 else 1
        z = F.conv2d(y, w[f"{at}.conv1.weight"], stride=stride, padding=1)
        z = F.conv2d(norm(z, f"{at}.bn1").clamp(min=0), w[f"{at}.conv2.weight"], padding=1)
        if stride == 2:
            y = norm(F.conv2d(y, w[f"{at}.downsample.0.weight"], stride=2), f"{at}.downsample.1")
        y = (norm(z, f"{at}.bn2") + y).clamp(min=0)
    return y.mean((2, 3)) @ w["fc.weight"].T + w["fc.bias"]


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 17, 10)])
def test_against_a_naive_network(shape: tuple[int, int, int], stem: str) -> None:
    with isolated_torch(3, "test"):
        network = resnet18(shape, 4, stem=stem, groups=2, width=4).double()  # type: ignore[arg-type]
        for value in network.parameters():
            torch.nn.init.normal_(value, std=0.3)
        x = torch.randn(3, *shape, dtype=torch.float64)
    values = {name: value.detach() for name, value in network.named_parameters()}
    torch.testing.assert_close(network(x).detach(), naive(values, x, 2, stem), rtol=1e-9, atol=1e-9)


def test_no_sample_is_told_from_another() -> None:
    """What batch norm would break: a row's logits do not depend on the rows beside it."""
    with isolated_torch(3, "test"):
        network = resnet18((1, 8, 8), 4, width=4).double()
        x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(784,), (28, 28), (4, 8, 8)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(StudyError, match="resnet18 takes images of 1 or 3 channels, channels first, but the data has"):
        resnet18(shape, 10)


def test_groups_that_do_not_divide_the_width() -> None:
    with pytest.raises(StudyError, match=r"^model.groups: 3 groups do not divide model.width 64"):
        resnet18((1, 8, 8), 10, groups=3)


def test_gradients_by_sample_and_client_are_those_of_one_at_a_time() -> None:
    with isolated_torch(6, "test"):
        network = resnet18((1, 6, 6), 3, width=2).double()
        x, y = torch.randn(2, 3, 1, 6, 6, dtype=torch.float64), torch.randint(3, (2, 3))
    own = {name: value.detach() for name, value in network.named_parameters()}
    clients = {name: torch.stack([value, 1.5 * value + 0.1]) for name, value in own.items()}

    def loss(params: Params, x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(network, params, (x[None],)), y[None])

    stacked = vmap(vmap(grad(loss), in_dims=(None, 0, 0)))(clients, x, y)
    for client, row in itertools.product(range(2), range(3)):
        mine = {name: value[client] for name, value in clients.items()}
        for name, value in grad(loss)(mine, x[client, row], y[client, row]).items():
            torch.testing.assert_close(stacked[name][client, row], value, rtol=1e-8, atol=1e-10)


@pytest.mark.usefixtures("engines_share_draws")
@pytest.mark.parametrize("privacy", [None, {"unit": "sample", "noise_multiplier": 1.0, "delta": 1e-3}])
def test_both_engines_train_it_alike(privacy: dict[str, Any] | None) -> None:
    results, before = {}, {}
    for engine in ("vectorised", "sequential"):
        study = make_study(
            {
                "data": {"name": "digits"},
                "partition": {"name": "iid", "num_partitions": 100},
                "model": {"name": "resnet18", "width": 2},
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
