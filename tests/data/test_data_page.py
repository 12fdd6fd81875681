"""docs/data.md: every setting is documented, and its example runs."""

import json
import re
import sys
import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from accord.config.data import Data
from accord.config.partition import Partition
from accord.data.load import deal, load_data

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def sections(union: object) -> list[type[BaseModel]]:
    return list(typing.get_args(typing.get_args(union)[0]))


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("section", sections(Data) + sections(Partition))
def test_every_setting_is_documented(section: type[BaseModel]) -> None:
    fields = dict(section.model_fields)
    (name,) = typing.get_args(fields.pop("name").annotation)
    page = PAGE.read_text()
    for documented in (name, *fields):
        assert f"`{documented}`" in page


def test_the_defaults_of_partitions_are_the_documented_ones() -> None:
    page = PAGE.read_text()
    for section in sections(Partition):
        (name,) = typing.get_args(section.model_fields["name"].annotation)
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        for setting, field in section.model_fields.items():
            if setting != "name" and not field.is_required():
                default = json.dumps(field.default).strip('"')
                assert f"`{setting}` ({default})" in row


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_clinics.py").write_text(blocks("python")[0])
    monkeypatch.chdir(tmp_path)
    (text,) = (block for block in blocks("yaml") if "my_clinics" in block)
    study: dict[str, Any] = yaml.safe_load(text)
    try:
        data = load_data(TypeAdapter(Data).validate_python(study["data"]), seed=0)
    finally:
        sys.modules.pop("my_clinics", None)
    dealt = deal(data, TypeAdapter(Partition).validate_python(study["partition"]), seed=0)
    assert dealt.train.names == ("north", "south", "west")
    assert len(data.train) == 720
    assert data.class_names == ("healthy", "ill")


def test_the_first_study_is_valid() -> None:
    study: dict[str, Any] = yaml.safe_load(blocks("yaml")[0])
    assert TypeAdapter(Data).validate_python(study["data"]).name == "mnist"
    assert TypeAdapter(Partition).validate_python(study["partition"]).name == "dirichlet"
