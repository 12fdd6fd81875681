import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.core.errors import StudyError
from accord.core.streams import isolated_torch
from accord.models.dense import mlp
from accord.models.lora import LoraLinear, add_factors, merge
from accord.models.text import lstm


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def trained(model: nn.Module) -> list[str]:
    return [name for name, value in model.named_parameters() if value.requires_grad]


@given(
    into=st.integers(1, 6),
    out=st.integers(1, 6),
    rank=st.integers(1, 8),
    alpha=st.floats(0.1, 50),
    bias=st.booleans(),
    rows=st.sampled_from([(), (3,), (2, 4)]),
)
@settings(derandomize=True, deadline=None, max_examples=40)
def test_equation_3(into: int, out: int, rank: int, alpha: float, bias: bool, rows: tuple[int, ...]) -> None:
    with isolated_torch(into * 7 + out, "test"):
        base = nn.Linear(into, out, bias, dtype=torch.float64)
        layer = LoraLinear(base, rank, alpha)
        x = torch.randn(*rows, into, dtype=torch.float64)
        torch.testing.assert_close(layer(x), base(x))  # B is zero at first
        nn.init.normal_(layer.lora_b)
    whole = base.weight + alpha / rank * (layer.lora_b @ layer.lora_a)
    expected = x @ whole.T + (base.bias if bias else 0)
    torch.testing.assert_close(layer(x), expected)
    merged = merge({f"3.{name}": value for name, value in values(layer).items()}, alpha)
    assert list(merged) == ["3.weight", "3.bias"][: 1 + bias]
    torch.testing.assert_close(merged["3.weight"], whole.detach())


def test_the_merged_network_is_the_network_it_was_built_from() -> None:
    with isolated_torch(1, "test"):
        plain = mlp((4,), 3, hidden=(5,))
        adapted = add_factors(mlp((4,), 3, hidden=(5,)), ["*"], 2, 6.0)
        for value in adapted.parameters():
            nn.init.normal_(value)
        x = torch.randn(7, 4)
    plain.load_state_dict(merge(values(adapted), 6.0))
    torch.testing.assert_close(plain(x), adapted(x))


def test_the_base_is_frozen_and_keeps_its_names_and_values() -> None:
    plain = mlp((4,), 3, hidden=(5,))
    before = values(plain)
    adapted = add_factors(plain, ["1", "3"], 2, 6.0)
    assert trained(adapted) == ["1.lora_a", "1.lora_b", "3.lora_a", "3.lora_b"]
    after = values(adapted)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert {name: tuple(after[name].shape) for name in trained(adapted)} == {
        "1.lora_a": (2, 4),
        "1.lora_b": (5, 2),
        "3.lora_a": (2, 5),
        "3.lora_b": (3, 2),
    }


def test_only_the_layers_named_get_factors() -> None:
    assert trained(add_factors(mlp((4,), 3, hidden=(5,)), ["3"], 2, 6.0)) == ["3.lora_a", "3.lora_b"]
    recurrent = add_factors(lstm((6,), 3), ["layers.*.input"], 2, 6.0)
    assert trained(recurrent) == ["layers.0.input.lora_a", "layers.0.input.lora_b"]


def test_a_network_that_is_one_dense_layer() -> None:
    assert trained(add_factors(nn.Linear(3, 2), ["*"], 1, 1.0)) == ["lora_a", "lora_b"]


def test_a_layer_used_in_two_places_stays_one() -> None:
    layer = nn.Linear(3, 3)
    adapted = add_factors(nn.Sequential(layer, nn.ReLU(), layer), ["*"], 1, 1.0)
    assert isinstance(adapted, nn.Sequential)
    assert adapted[0] is adapted[2]
    assert trained(adapted) == ["0.lora_a", "0.lora_b"]


def test_attention_is_left_alone() -> None:
    """Its output projection is a subclass of a dense layer whose `forward` is never called."""
    attention = nn.MultiheadAttention(4, 2)
    with pytest.raises(StudyError, match="no dense layer"):
        add_factors(attention, ["*"], 1, 1.0)


def test_what_is_refused() -> None:
    with pytest.raises(StudyError, match=r"model.lora.layers: 'fc' names no dense layer \(they are: 1, 3\)"):
        add_factors(mlp((4,), 3, hidden=(5,)), ["1", "fc"], 2, 6.0)
    with pytest.raises(StudyError, match=r"^model.lora: the network has no dense layer"):
        add_factors(nn.Sequential(nn.Conv2d(1, 2, 3)), ["*"], 2, 6.0)
    with pytest.raises(ValueError, match="no LoRA factors"):
        merge({"w": torch.zeros(2, 2)}, 1.0)
