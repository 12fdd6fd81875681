"""The base of `Study`, whose errors are those of a study file."""

from typing import Any

from accord.config.base import Section


class _ShortErrors(type(Section)):  # type: ignore[misc]
    """Gives `Study(...)` the errors of a study file, one line with what is wrong, where, and the nearest valid name."""

    def __call__(cls, **sections: Any) -> Any:
        """Builds the study of these sections. Short forms such as `data="digits"` are accepted.

        Raises:
            StudyError: says in one line what is wrong.
        """
        from accord.config.load import make_study  # which needs the class that is being made here

        return make_study(sections)


class StudyBase(Section, metaclass=_ShortErrors):
    """A section that is built by `StudyBase(...)` as a study file is read."""
