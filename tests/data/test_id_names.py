"""Ids mean what their data set's type says."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from accord.core.errors import DataError
from accord.data.id_names import agreed_names, in_words, stored_names, union


class Folder(TensorDataset):
    """What torchvision's ImageFolder has: classes, sorted, of the folders that are there."""

    def __init__(self, classes: Any, target_transform: Any = None) -> None:
        super().__init__(torch.zeros(2, 3), torch.tensor([0, 1]))
        self.classes = classes
        self.target_transform = target_transform


def test_names_of_torch_data_sets() -> None:
    folder = Folder(["cat", "dog"])
    assert stored_names(folder, 1, "x") == ("cat", "dog")
    assert stored_names(Subset(Subset(folder, [0, 1]), [0]), 1, "x") == ("cat", "dog")
    assert stored_names(ConcatDataset([folder, Folder(("cat", "dog"))]), 1, "x") == ("cat", "dog")
    assert stored_names(folder, 2, "x") is None  # `classes` names the target, no other part of an item
    assert stored_names(Folder(["cat", "dog"], target_transform=abs), 1, "x") is None
    assert stored_names(Folder([1, 2]), 1, "x") is None
    assert stored_names(TensorDataset(torch.zeros(1)), 1, "x") is None
    with pytest.raises(DataError, match=r"name their labels otherwise \(cat, dog and dog, fox\)"):
        stored_names(ConcatDataset([folder, Folder(["dog", "fox"])]), 1, "x")


def test_ids_in_words() -> None:
    assert in_words(np.array([1, 0, 1]), ["no", "yes"], "x").tolist() == ["yes", "no", "yes"]
    assert in_words(np.array(["yes"]), [], "x").tolist() == ["yes"]
    assert in_words(np.array([1.0]), ["no", "yes"], "x").tolist() == ["yes"]
    for strange in (-1, 2):
        with pytest.raises(DataError, match=f"x has {strange} in row 1, but the names of its type run from 0 to 1"):
            in_words(np.array([0, strange]), ["no", "yes"], "x")
    with pytest.raises(DataError, match="not whole"):
        in_words(np.array([0.5]), ["no", "yes"], "x")


def test_names_that_agree() -> None:
    one, other = ("no", "yes"), ("yes", "no")
    assert agreed_names({"a": None}, None, "x") is None
    assert agreed_names({"a": one, "b": other}, None, "x") == {"a": one, "b": other}
    assert agreed_names({"a": one, "b": other}, ["yes", "no"], "x") == {"a": one, "b": other}
    assert agreed_names({"a": one, "b": one}, ["healthy", "ill"], "x") == dict.fromkeys("ab", ("healthy", "ill"))
    assert union({"a": one, "b": ("maybe", "no")}) == ["no", "yes", "maybe"]
    with pytest.raises(DataError, match="the labels of a have names in its type, those of b have none"):
        agreed_names({"a": one, "b": None}, None, "x")
    with pytest.raises(DataError, match="b names its labels yes, no, and a no, yes, but classes has healthy, ill"):
        agreed_names({"a": one, "b": other}, ["healthy", "ill"], "x")
    with pytest.raises(DataError, match="classes names 1 labels, but their type has 2"):
        agreed_names({"a": one}, ["x"], "x")
