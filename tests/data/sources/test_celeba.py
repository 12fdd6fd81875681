"""`celeba`: images and attributes meet, and are worked on as if they were floating-point numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import accord
from accord.config.data import CelebaData
from accord.config.load import make_study
from accord.core.errors import DataError
from accord.data import prepare as prepare_data
from accord.data.federated import DataSet
from accord.data.load import load_data
from accord.data.sources import pixels
from accord.data.sources.celeba import count_celeba, load_celeba
from accord.orchestration import fingerprint
from celeba import write_faces

FACES = {f"{i:06d}.jpg": {name for name, every in (("Smiling", 2), ("Male", 3)) if i % every == 0} for i in range(60)}
PARTS = "".join("0012"[i % 4] for i in range(60))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small images of CelebA's shape: smiling faces are bright, and each one's blue tells its number."""
    folder = write_faces(tmp_path_factory.mktemp("celeba"), FACES, PARTS)
    (folder / "img_align_celeba").mkdir()
    for number, (name, held) in enumerate(FACES.items()):
        drawn = np.full((218, 178, 3), 200 if "Smiling" in held else 60, dtype=np.uint8)
        drawn[:, :, 2] = number
        Image.fromarray(drawn).save(folder / "img_align_celeba" / name, "PNG")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def section(folder: Path, **settings: Any) -> CelebaData:
    return CelebaData(name="celeba", path=str(folder), **settings)


def test_rows_labels_and_groups_belong_together(faces: Path) -> None:
    data = load_celeba(section(faces, image_size=8))
    assert data.train.x.dtype == torch.uint8
    assert data.train.x.shape == (30, 3, 8, 8)
    assert data.test.x.shape == (15, 3, 8, 8)
    for table, parts in ((data.train, "0"), (data.test, "2")):
        numbers = [number for number in range(60) if PARTS[number] in parts]
        assert table.x[:, 2].flatten(1).float().mean(dim=1).tolist() == numbers
        assert table.y.tolist() == [int(number % 2 == 0) for number in numbers]
        assert table.x[:, 0, 0, 0].tolist() == [200 if number % 2 == 0 else 60 for number in numbers]
        assert table.groups["Male"].codes.tolist() == [int(number % 3 == 0) for number in numbers]
    assert data.class_names == ("not Smiling", "Smiling")
    assert not data.derived


def test_any_target_group_part_and_size(faces: Path) -> None:
    data = load_celeba(section(faces, target="Male", groups=["Smiling", "Bald"], validation="train", train_rows=5))
    assert data.train.x.shape == (5, 3, 64, 64)
    assert data.train.x[:, 2, 0, 0].tolist() == [0, 1, 2, 4, 5]
    assert data.train.y.tolist() == [1, 0, 0, 0, 0]
    assert data.train.groups["Smiling"].codes.tolist() == [1, 0, 1, 1, 0]
    assert set(data.test.groups) == {"Smiling", "Bald"}


def test_other_targets_are_read_from_the_same_decoded_images(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_celeba(section(faces))
    monkeypatch.setattr(pixels, "decode", None)
    other = load_celeba(section(faces, target="Male", groups=["Young"]))
    assert torch.equal(first.train.x, other.train.x)
    assert torch.equal(first.test.x, other.test.x)


def test_images_may_lie_elsewhere(faces: Path, tmp_path: Path) -> None:
    alone = write_faces(tmp_path / "lists", FACES, PARTS)
    with pytest.raises(DataError, match=r"img_align_celeba: cannot be read .*put the images there"):
        load_celeba(section(alone))
    data = load_celeba(section(alone, images=str(faces / "img_align_celeba")))
    assert torch.equal(data.train.x, load_celeba(section(faces)).train.x)


def test_counting_does_not_decode(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "decode", None)
    assert count_celeba(section(faces)) == (30, 15)
    short = write_faces(tmp_path / "short", {"gone.jpg": set(), "lost.jpg": set()}, "02")
    (short / "img_align_celeba").mkdir()
    with pytest.raises(DataError, match=r"gone\.jpg: missing, 2 of 2"):
        count_celeba(section(short))


def test_without_files_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"list_attr_celeba\.txt .*mmlab.*folder img_align_celeba"):
        load_celeba(CelebaData(name="celeba"))


def as_floats(data: DataSet) -> DataSet:
    """The same data with pixels scaled beforehand."""
    train, test = (replace(part, x=part.x.to(torch.float32) / 255) for part in (data.train, data.test))
    return replace(data, train=train, test=test)


@pytest.mark.parametrize("engine", ["vectorised", "sequential"])
@pytest.mark.parametrize("unit", [None, "sample"])
def test_pixels_train_as_scaled_numbers_do(
    faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, unit: str | None
) -> None:
    study = make_study(
        {
            "data": {"name": "celeba", "path": str(faces), "image_size": 6},
            "partition": {"name": "iid", "num_partitions": 3},
            "model": {"name": "mlp", "hidden": [8]},
            "training": {"learning_rate": 0.2, "batch_size": 4},
            "program": {"name": "fedavg", "rounds": 3},
            "privacy": unit and {"unit": unit, "noise_multiplier": 1.0, "delta": 1e-2},
            "fairness": {"groups": ["Male"]},
            "engine": {"name": engine},
        }
    )
    # One mechanism, one noise: the fingerprint, which noise follows, holds the features' bytes.
    monkeypatch.setattr(fingerprint, "fingerprint_of", lambda study, federated, task: "same")
    pixels_run = accord.run(study, tmp_path / "pixels")
    monkeypatch.setattr(prepare_data, "load_data", lambda settings, seed: as_floats(load_data(settings, seed)))
    floats_run = accord.run(study, tmp_path / "floats")
    assert pixels_run.params.keys() == floats_run.params.keys()
    for name, value in pixels_run.params.items():
        assert torch.equal(value, floats_run.params[name])
    assert pixels_run.result is not None
    assert floats_run.result is not None
    assert pixels_run.result["test"] == floats_run.result["test"]
    assert pixels_run.result["fairness"] == floats_run.result["fairness"]
    if unit is None:
        assert pixels_run.result["test"]["accuracy"] > 0.9
