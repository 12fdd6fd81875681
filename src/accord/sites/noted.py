"""Lines of a site's journal that others noted: in signed answers and refusals, and in the coordinator's receipts."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.core.errors import FederationError
from accord.transport.keys import valid
from accord.transport.messages import Answer, Receipt, Refusal, Signed, from_json


@dataclass(frozen=True)
class Noted:
    """A line that someone noted elsewhere, by which a journal that was put back is found.

    Attributes:
        whose: who noted it, for messages.
        number: the line.
        hash: its hash.
    """

    whose: str
    number: int
    hash: str


def noted_in(path: Path, site: str, public: str, coordinator: str) -> list[Noted]:
    """Returns the lines of a site's journal that signed answers, refusals and receipts in a file name.

    Args:
        path: a file of JSON, or of a JSON value a line, such as `sites.jsonl` of a run's folder.
        site: the site. What is of others is passed over, and so is what is not signed.
        public: the site's key.
        coordinator: the coordinator's key.

    Raises:
        FederationError: there is no such file, or it is no JSON.
    """
    try:
        text = path.read_text()
        try:
            values = [json.loads(text)]
        except ValueError:
            values = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise FederationError(f"{path}: no file of signed answers; name sites.jsonl of a run's folder") from error
    return [noted for value in values for noted in _noted(value, site, public, coordinator, str(path))]


def _noted(value: Any, site: str, public: str, coordinator: str, whose: str) -> Iterable[Noted]:
    """Finds signed messages at any depth: whoever wrote the file may have put them into a line of its own."""
    if isinstance(value, list):
        for each in value:
            yield from _noted(each, site, public, coordinator, whose)
    if not isinstance(value, dict):
        return
    if set(value) != {"message", "signer", "signature"} or not isinstance(value["message"], dict):
        for each in value.values():
            yield from _noted(each, site, public, coordinator, whose)
        return
    expected = {"answer": (Answer, public), "refusal": (Refusal, public), "receipt": (Receipt, coordinator)}
    kind, key = expected.get(str(value["message"].get("type")), (None, ""))
    if kind is None or value["message"].get("site") != site:
        return
    signed: Signed[Any] = from_json(value, kind)
    if valid(key, signed.signature, signed.covered()):
        yield Noted(whose, signed.message.line, signed.message.head)
