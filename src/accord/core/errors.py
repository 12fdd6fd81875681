"""The errors that Accord raises on purpose.

    AccordError
    ├── RequestError            exit 2: the request is wrong; nothing was started
    │   ├── StudyError          the study file: unknown key, wrong type, impossible combination
    │   ├── DataError           data missing, truncated or mislabelled
    │   ├── PrivacyError        a privacy setting or composition that is refused
    │   ├── RunFolderError      the run folder exists, is not one, or cannot be resumed
    │   ├── FederationError     coordinator, site, key or policy: set up wrongly, or what was asked is refused
    │   └── MessageError        a message between organisations that is malformed, unsigned or of another version
    ├── StoppedEarly            exit 3: it stopped early and saved (budget, quorum, interrupt)
    └── Fault                   exit 1: something failed while running
        ├── ClientError         client work failed; carries client, round and stage
        ├── DivergedError       the model's parameters are no longer finite
        └── StorageError        the disk is full or refuses; the records so far are whole

Each message is one line that says what is wrong, where, and how to fix it. Only a `RequestError` of several problems
has a line for each.
"""

from functools import partial
from typing import Any


class AccordError(Exception):
    """Base class of all errors. `exit_code` is the exit code of the command line."""

    exit_code = 1


class RequestError(AccordError):
    """The request is wrong. Nothing was started and nothing was written.

    Attributes:
        problems: every problem, one line each. The message is these lines.
    """

    exit_code = 2

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class StudyError(RequestError):
    """The study file or a `--set` is wrong."""


class DataError(RequestError):
    """Data is missing, truncated, mislabelled or of the wrong shape."""


class PrivacyError(RequestError):
    """A privacy setting, mechanism or composition that Accord refuses."""


class RunFolderError(RequestError):
    """The run folder exists already, is not a run folder, or cannot be resumed."""


class FederationError(RequestError):
    """A coordinator, site, key or policy is set up wrongly, or refuses what is asked."""


class MessageError(RequestError):
    """A message between organisations is malformed, too long, wrongly signed, or of another version."""


class StoppedEarly(AccordError):  # noqa: N818 - a signal with a saved run behind it, not a failure
    """The run stopped before its last round and saved its state."""

    exit_code = 3


class Fault(AccordError):  # noqa: N818 - the tree's name for the exit-1 family
    """Something failed while running. The message says what is saved."""


class ClientError(Fault):
    """Client work failed.

    Attributes:
        message: what went wrong, without the place.
        client: the client whose work failed.
        round: the round, counted from 1.
        stage: `start`, `step` or `finish`.
    """

    def __init__(self, message: str, *, client: int, round_number: int, stage: str) -> None:
        super().__init__(f"client {client}, round {round_number}, {stage}: {message}")
        self.message = message
        self.client = client
        self.round = round_number
        self.stage = stage

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is rebuilt from its class and `args`, which lack the keyword arguments.
        made = partial(type(self), client=self.client, round_number=self.round, stage=self.stage)
        return made, (self.message,), self.__dict__


class DivergedError(Fault):
    """The model's parameters are no longer finite."""


class StorageError(Fault):
    """A record could not be written. Records written before are complete."""
