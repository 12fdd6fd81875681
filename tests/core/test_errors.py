import copy
import inspect
import pickle

import pytest

from accord.core import errors
from accord.core.errors import (
    AccordError,
    ClientError,
    DataError,
    DivergedError,
    Fault,
    PrivacyError,
    RequestError,
    RunFolderError,
    StoppedEarly,
    StorageError,
    StudyError,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == "accord.core.errors"]


@pytest.mark.parametrize(
    ("cls", "parent", "exit_code"),
    [
        (AccordError, Exception, 1),
        (RequestError, AccordError, 2),
        (StudyError, RequestError, 2),
        (DataError, RequestError, 2),
        (PrivacyError, RequestError, 2),
        (RunFolderError, RequestError, 2),
        (StoppedEarly, AccordError, 3),
        (Fault, AccordError, 1),
        (ClientError, Fault, 1),
        (DivergedError, Fault, 1),
        (StorageError, Fault, 1),
    ],
)
def test_the_tree_and_its_exit_codes(cls: type[AccordError], parent: type[Exception], exit_code: int) -> None:
    assert cls.__base__ is parent
    assert cls.exit_code == exit_code


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    names = {cls.__name__ for cls in CLASSES}
    drawn = [word for word in (errors.__doc__ or "").split() if word in names]
    assert sorted(drawn) == sorted(names)


def test_a_client_error_says_who_when_and_where() -> None:
    error = ClientError("loss is NaN", client=3, round_number=7, stage="step")
    assert str(error) == "client 3, round 7, step: loss is NaN"
    assert (error.client, error.round, error.stage) == (3, 7, "step")


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_pickling(cls: type[AccordError]) -> None:
    error = cls("no", client=7, round_number=2, stage="step") if issubclass(cls, ClientError) else cls("no")
    error.add_note("seen")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert copy.copy(error).args == error.args
