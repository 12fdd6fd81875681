"""Loads a user's own code by a name of the form `module:function`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accord.core.errors import StudyError


def load_function(name: str, where: str) -> Callable[..., Any]:
    """Imports `module:function`. Modules in the current folder are found, as with `python -m`.

    Args:
        name: the function's name, such as `my_models:small_cnn`.
        where: the setting that has the name, such as `model.function`. Used in messages.

    Raises:
        StudyError: the name has no colon, the module does not import, or it has no such callable.

    >>> load_function("math:sqrt", "model.function")(4.0)
    2.0
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise StudyError(f"{where}: {name!r} is not of the form module:function")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(1, here)  # after the folder of the study or script, which has precedence
    importlib.invalidate_caches()  # otherwise a module written a moment ago, as in a notebook, might not be found
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise StudyError(
            f"{where}: cannot import {module_name!r} ({_brief(error)}); it must be installed or in {here}"
        ) from error
    except Exception as error:
        kind = type(error).__name__
        raise StudyError(f"{where}: {module_name!r} fails while it is imported: {kind}: {_brief(error)}") from error
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise StudyError(f"{where}: module {module_name!r} has no function {attribute!r}")
    return function  # type: ignore[no-any-return]


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())
