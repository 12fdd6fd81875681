"""Checkpoints and models: bits kept, damage noticed, one-line errors."""

import errno
import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from accord.core.errors import RunFolderError, StorageError
from accord.records.checkpoints import latest, load_model, save, save_model

property_test = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ODD = [float("nan"), float("inf"), -float("inf"), -0.0, 5e-324, 1e-40, 0.1, 1.7e308]
BASE = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
TENSORS = {
    "params/z.weight": torch.tensor(ODD, dtype=torch.float64),
    "params/a.bias": torch.tensor(ODD).to(torch.float32),
    "steps": torch.tensor([-(2**63), 2**63 - 1, 0]),
    "scalar": torch.tensor(-0.0),
    "count": torch.tensor(7),
    "transposed": BASE.permute(2, 0, 1),
    "strided": BASE[:, ::2, 1],
    "expanded": torch.tensor([1.5]).expand(3, 2),
    "channels_last": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "shared": BASE,
    "empty": torch.zeros(0, 3),
    "flag": torch.tensor([True, False]),
    "half": torch.tensor(ODD).to(torch.bfloat16),
    "trained": torch.ones(2, requires_grad=True),
    'odd "name" é\n': torch.tensor(1.0),
}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    def bits(value: Tensor) -> list[int]:
        return value.detach().contiguous().reshape(-1).view(torch.uint8).tolist()

    return list(a) == list(b) and all(
        (a[name].dtype, a[name].shape) == (b[name].dtype, b[name].shape) and bits(a[name]) == bits(b[name])
        for name in a
    )


def test_a_checkpoint_comes_back_bit_for_bit_in_its_order(tmp_path: Path) -> None:
    state = {"epsilon": 0.1 + 0.2, "spent": {"3": [1, None, True]}, "big": 2**80, "text": 'é "quoted"\n'}
    path = save(tmp_path, 12, TENSORS, state)
    assert path == tmp_path / "checkpoints" / "round-000012.safetensors"
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert same_bits(checkpoint.tensors, TENSORS)
    assert (checkpoint.round, checkpoint.state, checkpoint.skipped) == (12, state, ())


def test_what_is_loaded_may_be_changed_and_is_not_the_file(tmp_path: Path) -> None:
    path = save(tmp_path, 1, {"w": torch.zeros(3)}, {})
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    checkpoint.tensors["w"].add_(1.0)
    assert load_model(path)["w"].tolist() == [0.0, 0.0, 0.0]


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    files = {save(tmp_path, 1, TENSORS, {"a": 1, "b": 2}).read_bytes() for _ in range(5)}
    assert len(files) == 1
    for number in range(5):
        save_model(tmp_path / f"{number}", TENSORS, {"rounds": 3, "seed": 1, "name": "x"})
    assert len({(tmp_path / f"{number}").read_bytes() for number in range(5)}) == 1


def test_any_safetensors_reader_reads_it(tmp_path: Path) -> None:
    path = save(tmp_path, 3, TENSORS, {})
    assert same_bits(dict(sorted(safetensors.torch.load_file(path).items())), dict(sorted(load_model(path).items())))


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    save(tmp_path, 0, {}, {})
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.round, checkpoint.tensors) == (0, {})


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for round in (1, 2, 5, 999_999, 1_000_000):
        save(tmp_path, round, {}, {})
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["round-1000000.safetensors", "round-999999.safetensors"]
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.round == 1_000_000


def test_a_run_that_went_back_drops_what_it_left_behind(tmp_path: Path) -> None:
    save(tmp_path, 10, {}, {})
    save(tmp_path, 15, {}, {}).write_bytes(b"damaged")
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    save(tmp_path, 11, {}, {})
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["notes.txt", "round-000010.safetensors", "round-000011.safetensors"]


# --- damage ---


def two_saved(folder: Path) -> tuple[Path, bytes]:
    save(folder, 1, {"w": torch.ones(4)}, {"round": 1})
    path = save(folder, 2, {"w": torch.full((4,), 2.0), "b": torch.tensor(3)}, {"round": 2})
    return path, path.read_bytes()


@property_test
@given(data=st.data())
def test_a_checkpoint_damaged_in_any_byte_is_passed_over(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = two_saved(tmp_path)
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = data.draw(st.integers(1, 255))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ flipped]) + whole[place + 1 :])
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.round, checkpoint.skipped) == (1, (path,))
    assert checkpoint.tensors["w"].tolist() == [1.0] * 4


@property_test
@given(data=st.data())
def test_a_truncated_or_lengthened_checkpoint_is_passed_over(tmp_path: Path, data: st.DataObject) -> None:
    path, whole = two_saved(tmp_path)
    path.write_bytes(data.draw(st.integers(0, len(whole) - 1).map(lambda n: whole[:n]) | st.just(whole + b"\0")))
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.round, checkpoint.skipped) == (1, (path,))


def test_an_unreadable_checkpoint_is_passed_over(tmp_path: Path) -> None:
    path, _ = two_saved(tmp_path)
    path.unlink()
    path.mkdir()
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert (checkpoint.round, checkpoint.skipped) == (1, (path,))


def test_another_makers_file_is_no_checkpoint(tmp_path: Path) -> None:
    path, _ = two_saved(tmp_path)
    path.write_bytes(safetensors.torch.save({"w": torch.ones(4)}, {"round": "2"}))
    checkpoint = latest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.round == 1


def test_nothing_but_damage_is_refused_in_one_line(tmp_path: Path) -> None:
    two_saved(tmp_path)
    for path in (tmp_path / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunFolderError) as error:
        latest(tmp_path)
    message = str(error.value)
    assert "round-000002.safetensors, round-000001.safetensors" in message
    assert "into another folder" in message
    assert "\n" not in message


def test_a_state_that_json_cannot_say_is_refused(tmp_path: Path) -> None:
    for state in ({"loss": float("nan")}, {"x": "y" * 101_000_000}):
        with pytest.raises(ValueError, match=r"JSON|safetensors"):
            save(tmp_path, 1, {}, state)
    assert latest(tmp_path) is None


def test_a_refused_write_keeps_the_checkpoints_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, whole = two_saved(tmp_path)

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"round-000003\.safetensors cannot be written \(No space"):
        save(tmp_path, 3, {"w": torch.zeros(4)}, {})
    monkeypatch.undo()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["round-000001.safetensors", "round-000002.safetensors"]
    assert (tmp_path / "checkpoints" / names[1]).read_bytes() == whole


# --- models ---


def test_a_model_comes_back_bit_for_bit_in_its_order(tmp_path: Path) -> None:
    save_model(tmp_path / "model.safetensors", TENSORS, {"rounds": 3})
    assert same_bits(load_model(tmp_path / "model.safetensors"), TENSORS)


def test_another_makers_model_loads(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save({"w": torch.ones(4)}))
    assert load_model(tmp_path / "model.safetensors")["w"].tolist() == [1.0] * 4


def test_a_model_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(RunFolderError, match=r"model\.safetensors cannot be read \(No such file"):
        load_model(path)
    save_model(path, TENSORS, {})
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + b"\x7f", whole[:20], b"\x80\x02}q\x00."):
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError, match="not a whole safetensors file") as error:
            load_model(path)
        assert "\n" not in str(error.value)
