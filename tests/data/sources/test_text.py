from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from accord.config.data import TextData
from accord.config.partition import NaturalPartition
from accord.core.errors import DataError
from accord.data.federated import DataSet
from accord.data.load import deal, load_data
from accord.data.sources.text import ALPHABET, encode, windows


def load(seed: int = 0, **given: Any) -> DataSet:
    return load_data(TextData(name="text", **given), seed)


def written(tmp_path: Path, content: str | bytes, name: str = "mine.txt") -> str:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@given(
    text=st.text(alphabet="abcdé ", max_size=60),
    length=st.integers(1, 9),
    stride=st.integers(1, 12),
)
@settings(derandomize=True, deadline=None, max_examples=60)
def test_windows_against_slices(text: str, length: int, stride: int) -> None:
    alphabet = "abc "
    tokens = [alphabet.index(each) if each in alphabet else 4 for each in text]
    expected = [tokens[i : i + length + 1] for i in range(0, len(tokens), stride)]
    expected = [each for each in expected if len(each) == length + 1]
    assert windows(encode(text, alphabet), length, stride).tolist() == expected


def test_rows_read_back_as_the_text(tmp_path: Path) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(100))
    data = load(path=written(tmp_path, text), sequence_length=9, test_fraction=0.3)
    assert data.train.x.dtype == data.train.y.dtype == torch.int64
    assert data.train.x.shape == (7, 9)
    assert data.test.x.shape == (3, 9)
    rows = torch.cat([data.train.x, data.train.y[:, None]], 1)
    assert "".join(ALPHABET[token] for token in rows.reshape(-1).tolist()) == text[:70]
    assert "".join(ALPHABET[token] for token in data.test.x[0].tolist()) == text[70:79]


def test_by_default_no_character_is_in_two_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "x" * 1000)
    assert len(load(path=path, sequence_length=9).train) == 80
    assert len(load(path=path, sequence_length=9, stride=1).train) == 791  # the last of 800 ends a row, no test row


def test_the_alphabet_is_a_constant_whatever_the_text(tmp_path: Path) -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) == 96
    path = written(tmp_path, "naïve\tcafé " * 20)
    choices: list[tuple[dict[str, Any], int]] = [({}, 97), ({"alphabet": "abcdefn"}, 8)]
    for more, classes in choices:
        data = load(path=path, sequence_length=4, **more)
        assert len(data.class_names) == classes
        assert data.class_names[-1] == "unknown"
        assert int(data.train.x.max()) == classes - 1
        assert data.tokens() == classes
        assert not data.derived
    assert data.train.x[0].tolist() == [6, 0, 7, 7]


def test_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    unix = load(path=written(tmp_path, "ab\ncd\n" * 9, "a.txt"), sequence_length=2)
    dos = load(path=written(tmp_path, b"\xef\xbb\xbf" + b"ab\r\ncd\r\n" * 9, "b.txt"), sequence_length=2)
    assert torch.equal(unix.train.x, dos.train.x)
    assert unix.class_names[:2] == ("newline", "space")


def test_a_folder_holds_one_speaker_a_file(tmp_path: Path) -> None:
    written(tmp_path, "b" * 50, "romeo.txt")
    written(tmp_path, "a" * 30, "juliet.txt")
    written(tmp_path, "c" * 30, "notes.md")
    data = load(path=str(tmp_path), sequence_length=4)
    speaker = data.train.groups["speaker"]
    assert speaker.names == ("juliet", "romeo")
    assert speaker.codes.tolist() == [0] * 4 + [1] * 8
    assert set(data.train.x[:4].reshape(-1).tolist()) == {ALPHABET.index("a")}
    dealt = deal(data, NaturalPartition(name="natural", partition_by="speaker"), 0)
    assert dealt.train.names == ("juliet", "romeo")
    assert dealt.test.sizes().tolist() == [1, 2]


def test_the_generated_corpus_is_the_same_for_every_seed() -> None:
    one, two = load(seed=0, sentences=30), load(seed=1, sentences=30)
    assert torch.equal(one.train.x, two.train.x)
    more = load(speakers=4, sentences=30)
    few = load(speakers=2, sentences=30)
    assert torch.equal(more.train.x[: len(few.train)], few.train.x)


def test_default_speakers_and_sizes() -> None:
    data = load()
    assert data.train.groups["speaker"].names == tuple(f"speaker-{number}" for number in range(10))
    assert np.bincount(data.train.groups["speaker"].codes).min() > 250
    assert int(data.train.x.max()) < len(data.class_names) - 1  # every character it writes has a token of its own


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("ab", {}, "the text has 2 characters, too few for a training row of 32 and the one after"),
        ("a" * 40, {}, "the text has 40 characters, too few for a training row of 32"),
        ("a" * 50, {}, "too few for a test row of 32"),
        (b"caf\xe9" * 99, {}, r"mine.txt: byte 3 is not UTF-8; save the text as UTF-8"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: str | bytes, given: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(path=written(tmp_path, content), **given)
    assert "\n" not in str(caught.value)


def test_no_such_file_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.txt: cannot be read \(No such file"):
        load(path=str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match=r"has no \.txt file; put one a speaker there"):
        load(path=str(tmp_path))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alphabet": "abca"}, "alphabet has 'a' twice"),
        ({"alphabet": "a"}, "at least 2 characters"),
        ({"path": "x.txt", "speakers": 3}, "speakers and sentences belong to the generated corpus"),
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TextData(name="text", **given)
