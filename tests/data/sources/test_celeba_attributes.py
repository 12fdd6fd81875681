"""`celeba-attributes`: a table of attributes, and the real one."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.config.data import CELEBA_ATTRIBUTES, CelebaAttributesData
from accord.core.errors import DataError
from accord.data.federated import DataSet
from accord.data.sources.celeba_attributes import load_celeba_attributes
from celeba import write_faces

REAL = os.environ.get("ACCORD_DATA")
needs_real_data = pytest.mark.skipif(
    not REAL, reason="needs the real file: set ACCORD_DATA to the folder that holds celeba-attributes/"
)

FACES = {
    "000001.jpg": {"Smiling", "Male"},
    "000002.jpg": {"Young"},
    "000003.jpg": {"Male", "Bald"},
    "000004.jpg": {"Smiling", "Young"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_faces(tmp_path, FACES, "0012")


def load(folder: Path, **section: Any) -> DataSet:
    return load_celeba_attributes(CelebaAttributesData(name="celeba-attributes", path=str(folder), **section))


def test_smiling_from_the_others(folder: Path) -> None:
    data = load(folder)
    names = [name for name in CELEBA_ATTRIBUTES if name not in ("Smiling", "Male")]
    assert data.train.x.shape == (2, 38)
    assert data.train.x.dtype == torch.float32
    held = [{name for name, value in zip(names, row, strict=True) if value == 1} for row in data.train.x.tolist()]
    assert held == [set(), {"Young"}]
    assert set(data.train.x.flatten().tolist()) == {-1.0, 1.0}
    assert data.train.y.tolist() == [1, 0]
    assert data.test.y.tolist() == [1]
    assert data.class_names == ("not Smiling", "Smiling")
    male = data.train.groups["Male"]
    assert [male.names[code] for code in male.codes] == ["Male", "not Male"]
    assert not data.derived


def test_any_target_groups_and_features(folder: Path) -> None:
    data = load(folder, target="Bald", groups=["Young", "Male"], features=["Smiling"], validation="test")
    assert data.train.x.tolist() == [[1], [-1]]
    assert data.test.y.tolist() == [1, 0]
    assert {name: column.codes.tolist() for name, column in data.test.groups.items()} == {
        "Young": [0, 1],
        "Male": [1, 0],
    }
    assert "Bald from Smiling" in data.about


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ({"features": ["Bald", "Young"]}, ("Bald", "Young")),
        ({"features": ["Bald", "Young"], "keep_protected": True}, ("Bald", "Young", "Male")),
        ({"features": ["Male", "Bald"], "keep_protected": True}, ("Male", "Bald")),
        ({"keep_protected": True}, tuple(name for name in CELEBA_ATTRIBUTES if name != "Smiling")),
        ({"groups": []}, tuple(name for name in CELEBA_ATTRIBUTES if name != "Smiling")),
    ],
)
def test_protected_attributes_are_features_only_on_request(
    folder: Path, section: dict[str, Any], names: tuple[str, ...]
) -> None:
    settings = CelebaAttributesData(name="celeba-attributes", path=str(folder), **section)
    assert settings.feature_names() == names
    held = [[1 if name in FACES["000001.jpg"] else -1 for name in names]]
    assert load_celeba_attributes(settings).train.x[:1].tolist() == held


def test_without_the_file_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCORD_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"get list_attr_celeba\.txt .*mmlab\.ie\.cuhk\.edu\.hk"):
        load_celeba_attributes(CelebaAttributesData(name="celeba-attributes"))


@needs_real_data
def test_real_celeba() -> None:
    start = time.process_time()
    data = load_celeba_attributes(CelebaAttributesData(name="celeba-attributes"))
    assert time.process_time() - start < 3
    assert data.train.x.shape == (162_770, 38)
    assert data.test.x.shape == (19_962, 38)
    # Published: 48.2% of all 202,599 faces smile, 41.7% are male.
    both = load_celeba_attributes(CelebaAttributesData(name="celeba-attributes", validation="test"))
    y = torch.cat([both.train.y, both.test.y]).double()
    assert float(y.mean()) == pytest.approx(0.482, abs=5e-4)
    male = np.concatenate([part.groups["Male"].codes for part in (both.train, both.test)])
    assert male.mean() == pytest.approx(0.417, abs=5e-4)
    # The first image: a smiling young woman with brown, straight hair.
    assert data.train.y[0] == 1
    held = {name for name, value in zip(_names(), data.train.x[0].tolist(), strict=True) if value == 1}
    assert {"Young", "Brown_Hair", "Straight_Hair"} <= held
    assert data.train.groups["Male"].codes[0] == 0


def _names() -> tuple[str, ...]:
    return CelebaAttributesData(name="celeba-attributes").feature_names()
