"""Says in one line which extra a command needs."""

from collections.abc import Iterator
from contextlib import contextmanager

from accord.core.errors import FederationError


@contextmanager
def needs_federation() -> Iterator[None]:
    """Turns a missing package of the extra `federation` into one line.

    Raises:
        FederationError: names the package and how to get it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("accord"):
            raise
        raise FederationError(
            f"federations need the package {error.name}, which is not installed; pip install 'accord[federation]'"
        ) from error
