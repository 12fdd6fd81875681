import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from accord.core.errors import StudyError
from accord.core.streams import isolated_torch
from accord.models.dense import mlp
from accord.models.pretrained import load_weights, pin


def network(seed: int, classes: int = 3, hidden: tuple[int, ...] = (5,)) -> nn.Module:
    with isolated_torch(seed, "test"):
        return mlp((4,), classes, hidden=hidden)


def saved(tmp_path: Path, tensors: dict[str, Tensor]) -> str:
    path = tmp_path / "w.safetensors"
    save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, path)
    return str(path)


def test_every_weight_is_the_files(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    load_weights(target, saved(tmp_path, source.state_dict()))
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value)


def test_other_widths_of_floating_point(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    load_weights(target, saved(tmp_path, {name: value.bfloat16() for name, value in source.state_dict().items()}))
    for name, value in target.named_parameters():
        assert value.dtype == torch.float32
        assert torch.equal(value.detach(), source.state_dict()[name].bfloat16().float())


def test_a_new_head(tmp_path: Path) -> None:
    source, target = network(1, classes=9), network(2)
    head = target.state_dict()["3.weight"].clone()
    load_weights(target, saved(tmp_path, source.state_dict()), leave=["3.*"])
    assert torch.equal(target.state_dict()["3.weight"], head)
    assert torch.equal(target.state_dict()["1.weight"], source.state_dict()["1.weight"])


def test_a_head_of_the_file_that_the_network_has_not(tmp_path: Path) -> None:
    source, target = network(1), network(2)
    path = saved(tmp_path, source.state_dict() | {"old_head.weight": torch.zeros(3)})
    with pytest.raises(StudyError, match=r"has 'old_head.weight', which the network has not"):
        load_weights(target, path)
    load_weights(target, path, leave=["old_head.*"])
    assert torch.equal(target.state_dict()["3.weight"], source.state_dict()["3.weight"])


def test_batch_norms_statistics_come_along_and_its_counter_does_not_matter(tmp_path: Path) -> None:
    source, target = (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)) for _ in range(2))
    source(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    state = source.state_dict()
    load_weights(target, saved(tmp_path, state))
    assert torch.equal(target.state_dict()["1.running_mean"], state["1.running_mean"])
    del state["1.num_batches_tracked"]
    load_weights(target, saved(tmp_path, state))


def test_what_does_not_fit_is_refused_by_its_first_fault(tmp_path: Path) -> None:
    state = network(1).state_dict()

    def fault(tensors: dict[str, Tensor], leave: tuple[str, ...] = ()) -> str:
        path = saved(tmp_path, tensors)
        target = network(2)
        before = {name: value.clone() for name, value in target.state_dict().items()}
        with pytest.raises(StudyError) as caught:
            load_weights(target, path, leave=leave)
        assert all(torch.equal(target.state_dict()[name], value) for name, value in before.items())
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(path, "FILE")

    renamed = {name.replace("1.", "fc1."): value for name, value in state.items()}
    assert fault(renamed) == (
        "model.pretrained: FILE has no '1.weight', which the network has (nearest: 'fc1.weight'); "
        "or keep it as drawn by model.pretrained_except"
    )
    assert fault(network(1, classes=9).state_dict()) == (
        "model.pretrained: '3.weight' is 9x5 in FILE, but 3x5 in the network; change the model's settings, or keep it "
        "as drawn by model.pretrained_except"
    )
    assert fault(state | {"1.lora_a": torch.zeros(2, 4)}).startswith(
        "model.pretrained: FILE has '1.lora_a', which the network has not; merge its LoRA factors first, by "
        "accord.models.lora.merge"
    )
    assert fault(state | {"1.bias": torch.full((5,), torch.nan)}) == (
        "model.pretrained: '1.bias' in FILE does not hold finite floating-point numbers"
    )
    assert fault(state | {"1.bias": torch.zeros(5, dtype=torch.int64)}).endswith("finite floating-point numbers")
    assert fault(state, leave=("head.*",)) == (
        "model.pretrained_except: 'head.*' matches no parameter of the network or of FILE "
        "(the network has: 1.weight, 1.bias, 3.weight, 3.bias)"
    )


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"model.pretrained: .*none.safetensors cannot be read \(No such file"):
        load_weights(network(1), str(tmp_path / "none.safetensors"))
    bad = tmp_path / "bad.safetensors"
    whole = Path(saved(tmp_path, network(1).state_dict())).read_bytes()
    for content in (b"", b"PK\x03\x04 a zip file, as torch.save writes", whole[:-3]):
        bad.write_bytes(content)
        with pytest.raises(StudyError, match="is no whole safetensors file") as caught:
            load_weights(network(1), str(bad))
        assert "\n" not in str(caught.value)


def test_the_digest_is_pinned_and_held_to(tmp_path: Path) -> None:
    path = saved(tmp_path, network(1).state_dict())
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert pin(None, None) == {}
    assert pin(path, None) == pin(path, digest) == pin(path, digest.upper()) == {"pretrained_sha256": digest}
    saved(tmp_path, network(2).state_dict())
    with pytest.raises(StudyError, match=rf"has SHA-256 [0-9a-f]{{12}}\.\.\., but the study wants {digest[:12]}\.\.\."):
        pin(path, digest)
    with pytest.raises(StudyError, match="SHA-256"):
        load_weights(network(1), path, digest)
