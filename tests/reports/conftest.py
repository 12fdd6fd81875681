"""Every example run in turn, and its report rendered once."""

from collections.abc import Callable
from functools import cache

import pytest

from reports.examples import EXAMPLES, Example, rendered


@pytest.fixture(params=sorted(EXAMPLES))
def kind(request: pytest.FixtureRequest) -> str:
    """The name of each example in turn."""
    return str(request.param)


@pytest.fixture
def example(kind: str) -> Example:
    """Each run in turn, made afresh."""
    return EXAMPLES[kind]()


@pytest.fixture
def make() -> Callable[[str], Example]:
    """Makes the run of a name afresh."""
    return lambda kind: EXAMPLES[kind]()


@pytest.fixture(scope="session")
def page() -> Callable[[str], str]:
    """The rendered report of a name, rendered once."""
    return cache(lambda kind: rendered(EXAMPLES[kind]()))
