"""What there is to learn from: facts of every data set a study can name, and what of it lies on this machine."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from accord.core.errors import DataError
from accord.data.sources import adult, celeba, celeba_attributes, idx, occupancy
from accord.data.sources.places import Origin, find, how_to_get, read_bytes

_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
_FASHION = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_ADULT = (
    "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
)


@dataclass(frozen=True)
class Entry:
    """Facts of a data set, in words where they depend on the study.

    Attributes:
        name: as in the study file.
        about: what it is.
        licence: under which it may be used.
        rows: training + test.
        features: the shape of a row.
        classes: how many labels.
        groups: the group columns it comes with.
        get: how to get it, where it is in no files that Accord looks for.
        origin: its files, where it has some.
        published: SHA-256 of those files, unpacked, as they were first published; of those where it is known.
    """

    name: str
    about: str
    licence: str
    rows: str
    features: str
    classes: str
    groups: str
    get: str = ""
    origin: Origin | None = None
    published: Mapping[str, str] = field(default_factory=dict)

    def how_to_get(self) -> str:
        """One line: how to get it."""
        return self.get if self.origin is None else how_to_get(self.origin)


@dataclass(frozen=True)
class FoundFile:
    """A file on this machine.

    Attributes:
        file: its name without `.gz`.
        path: where it is.
        sha256: of its content, unpacked.
        published: what that was when the file was first published; None where it is not known.
    """

    file: str
    path: Path
    sha256: str
    published: str | None = None


_YOURS = "yours"

CATALOGUE: Mapping[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            "digits",
            "Handwritten digits, the test part of UCI's Optical Recognition of Handwritten Digits",
            "CC BY 4.0",
            "1,437 + 360",
            "1x8x8",
            "10",
            "stroke",
            "nothing to get: bundled with scikit-learn",
        ),
        Entry(
            "mnist",
            "Handwritten digits (LeCun, Cortes and Burges 1998)",
            "CC BY-SA 3.0",
            "60,000 + 10,000",
            "1x28x28",
            "10",
            "stroke",
            origin=idx.MNIST_ORIGIN,
            published=dict(zip(_IDX, _MNIST, strict=True)),
        ),
        Entry(
            "fashion-mnist",
            "Pictures of clothing (Xiao, Rasul and Vollgraf 2017)",
            "MIT",
            "60,000 + 10,000",
            "1x28x28",
            "10",
            "stroke",
            origin=idx.FASHION_ORIGIN,
            published=dict(zip(_IDX, _FASHION, strict=True)),
        ),
        Entry(
            "adult",
            "Census income: does a person earn more than 50,000 dollars a year? (Becker and Kohavi 1996)",
            "CC BY 4.0",
            "32,561 + 16,281",
            "100",
            "2",
            "sex, race",
            origin=adult.ORIGIN,
            published=dict(zip(adult.ORIGIN.files, _ADULT, strict=True)),
        ),
        Entry(
            "celeba",
            "Faces of celebrities, any of their 40 attributes told from the picture (Liu, Luo, Wang and Tang 2015)",
            "research only",
            "162,770 + 19,962",
            "3x64x64",
            "2",
            "any attribute",
            origin=celeba.ORIGIN,
        ),
        Entry(
            "celeba-attributes",
            "CelebA without its pictures: one attribute told from the others (Liu, Luo, Wang and Tang 2015)",
            "research only",
            "162,770 + 19,962",
            "38",
            "2",
            "any attribute",
            origin=celeba_attributes.ORIGIN,
        ),
        Entry(
            "occupancy",
            "Is an office room occupied, told from its air and light? (Candanedo and Feldheim 2016)",
            "CC BY 4.0",
            "8,143 + 12,417",
            "5",
            "2",
            "hour, day",
            origin=occupancy.ORIGIN,
        ),
        Entry(
            "diabetes",
            "Progression of diabetes a year after ten measurements (Efron, Hastie, Johnstone and Tibshirani 2004)",
            "not stated",
            "353 + 89",
            "9",
            "a number",
            "sex",
            "nothing to get: bundled with scikit-learn",
        ),
        Entry(
            "synthetic",
            "Gaussian classes, or a linear target, drawn from the study's seed",
            "none",
            "as set",
            "as set",
            "as set",
            "group",
            "nothing to get: it is drawn",
        ),
        Entry(
            "text",
            "Characters: which one comes next? A small generated corpus, or text of your own",
            "none, or yours",
            "3,845 + 956",
            "32",
            "97",
            "speaker",
            "nothing to get: it is generated; or set data.path to text of your own",
        ),
        Entry(
            "csv",
            "A table of your own: CSV or Parquet",
            _YOURS,
            _YOURS,
            _YOURS,
            _YOURS,
            _YOURS,
            "set data.path to your file",
        ),
        Entry(
            "custom",
            "Your own data, returned by a function",
            _YOURS,
            _YOURS,
            _YOURS,
            _YOURS,
            _YOURS,
            "write a function and name it in data.function",
        ),
        Entry(
            "in_memory",
            "Rows in memory, given in Python: Hugging Face or torch data sets, whole or by client",
            _YOURS,
            _YOURS,
            _YOURS,
            _YOURS,
            "client, yours",
            "accord.run(study, data=...) with accord.from_datasets or accord.from_torch",
        ),
    )
}
"""Every data set that a study can name."""


def is_found(entry: Entry) -> bool:
    """Whether its files are on this machine; True for a data set without any."""
    if entry.origin is None:
        return True
    try:
        return bool(find(entry.origin, None))
    except DataError:
        return False


def found_files(entry: Entry, path: str | None = None) -> list[FoundFile]:
    """The files of a data set on this machine, with their checksums.

    Args:
        entry: which data set.
        path: the study's `data.path`; None looks in the usual folders.

    Raises:
        DataError: a file is missing or unreadable; the message says how to get it.
    """
    if entry.origin is None:
        return []
    return [
        FoundFile(name, where, checksum(where), entry.published.get(name))
        for name, where in find(entry.origin, path).items()
    ]


def checksum(path: Path) -> str:
    """SHA-256 of a file's content, unpacked where it is gzipped: the same however it was packed.

    Raises:
        DataError: the file cannot be read.
    """
    return hashlib.sha256(read_bytes(path)).hexdigest()
