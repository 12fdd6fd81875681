"""What a site says to the outside where it does not do what was asked: a code and one line, and nothing of its rows."""

from accord.core.errors import AccordError


class RefusedError(AccordError):
    """The site refuses, or failed at, a task.

    The line is written by this room and never holds a path, a value of a row or the text of another exception. What the
    owner of the rows needs to know beyond it is in `__cause__`, and goes to the site's own log.

    Attributes:
        code: one word, as listed in docs/federation.md.
        reason: one line for people.
    """

    def __init__(self, code: str, reason: str) -> None:
        # What is not printable may be no UTF-8, which cannot be signed, or move the cursor of whoever reads it.
        reason = "".join(sign if sign.isprintable() else " " for sign in reason)
        super().__init__(reason)
        self.code = code
        self.reason = reason
