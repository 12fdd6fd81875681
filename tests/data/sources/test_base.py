"""Facts of a data set say how to get it."""

from accord.data.sources.base import Facts
from accord.data.sources.places import Origin


def test_how_to_get_it() -> None:
    facts = Facts("own", "About", "none", "1 + 1", "1", "2", "none", "write it yourself")
    assert facts.how_to_get() == "write it yourself"
    filed = Facts("own", "About", "none", "1 + 1", "1", "2", "none", origin=Origin("own", ("a.txt",), "https://x.org"))
    assert filed.how_to_get().startswith("get a.txt (.gz or not) from https://x.org")
