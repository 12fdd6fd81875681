"""A data owner's terms: one YAML file, signed with the site's key, read anew for every message.

What the file does not allow is refused. There is no rule of its own that allows anything: without a file, or with one
that was changed and not signed, the site does nothing for anyone.
"""

import json
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, ValidationError, field_validator, model_validator

from accord.config import yaml_text
from accord.config.base import Count, Flag, FunctionName, Positive, Real, Section
from accord.core.errors import AccordError, FederationError
from accord.privacy.units import Unit
from accord.transport.identity import write_durably
from accord.transport.keys import valid

Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
SettingName = Annotated[str, Field(pattern=r"^(program|model|training)(\.[A-Za-z_]\w*)+$")]


MOST_ITEMS = 64
"""Items of a list, such as a network's layers, at most."""
Plain = Annotated[bool, Field(strict=True)] | Annotated[int, Field(strict=True)] | Real | str | None


class Requester(Section):
    """A person who may ask."""

    name: Name
    organisation: str
    key: Hex64
    """The person's Ed25519 key; compare its fingerprint by telephone."""
    until: date | None = None
    """The last day on which the person may ask."""
    revoked: Flag = False
    """Whether the key is no longer the person's alone. Keep the entry, so that nobody takes its name."""


class Bound(Section):
    """Values of a study's setting that are allowed besides its default."""

    least: Real | None = None
    most: Real | None = None
    one_of: tuple[Plain, ...] = ()
    """Values that are allowed as they are."""

    def allows(self, value: Any) -> bool:
        """Whether a value, or every item of a list, is allowed."""
        if isinstance(value, list | tuple):
            return len(value) <= MOST_ITEMS and all(self.allows(each) for each in value)
        # By type, too: true is not 1 here.
        if any(type(value) is type(each) and value == each for each in self.one_of):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.least is None and self.most is None):
            return False
        # Written so that NaN is not allowed.
        return (self.least is None or self.least <= value) and (self.most is None or value <= self.most)

    def words(self) -> str:
        """Returns what is allowed, for messages."""
        ends = [
            f"{word} {end:g}" for word, end in (("at least", self.least), ("at most", self.most)) if end is not None
        ]
        return " or ".join([*([" and ".join(ends)] if ends else []), *(json.dumps(each) for each in self.one_of)])


class PrivacyTerms(Section):
    """Which mechanisms are allowed. All bounds are the owner's; a study can only stay within them."""

    units: Annotated[tuple[Unit, ...], Field(min_length=1)] = ("sample",)
    least_noise: Positive
    """Least noise multiplier."""
    most_delta: Annotated[float, Field(strict=True, gt=0, lt=1)]
    most_clip_norm: Positive = 100.0


class Budget(Section):
    """Epsilon that may be spent on the data set's rows, composed over all that was charged in each scope."""

    delta: Annotated[float, Field(strict=True, gt=0, lt=1)]
    """The delta at which these epsilons are meant."""
    study: Positive | None = None
    """By one study, however often it is run."""
    requester: Positive | None = None
    """By all studies of one requester."""
    month: Positive | None = None
    """Within a calendar month (UTC), by everyone."""
    total: Positive
    """For ever, by everyone, or over the time that `refresh_days` or `since` says."""
    refresh_days: Count | None = None
    """Days after which a charge no longer counts in `total`; null counts it for ever. A guarantee over longer than
    this is then a larger one."""
    since: date | None = None
    """First day that counts in `total`, where all rows were replaced by others on it."""


class Bounds(Section):
    """Largest and least settings of a study's training."""

    rounds: Count = 1000
    local_epochs: Count = 5
    local_steps: Count = 1000
    least_batch: Count = 8
    """Least rows of a local step; `full` is always enough."""
    learning_rate: Positive = 10.0
    parameters: Count = 1_000_000
    """Numbers of a network, trained or not. A large one can learn rows by heart. One of the study's own, listed in
    `code`, is as large as its reviewed code makes it."""
    memory_mb: Count = 16_384
    deadline_s: Annotated[Real, Field(ge=1)] = 3600.0
    evaluations: Count = 100
    """Evaluations of one study, the one at its end included. Each is of parameters that the requester picks."""
    calibration_bins: Count = 20
    """Bins of confidence. A bin of one row would tell of it."""


class Release(Section):
    """Counts that leave with noise, and are charged."""

    noise_multiplier: Positive
    """Standard deviation of the noise over the sensitivity of all counts together."""
    delta: Annotated[float, Field(strict=True, gt=0, lt=1)] = 1e-6
    """At which they are charged."""


class Leaves(Section):
    """What may leave the site, besides updates."""

    updates: Flag = True
    losses: Flag = False
    """The mean loss on the training rows, which no noise covers; some programs without privacy need it."""
    evaluation: Release | Literal["exact"] | None = None
    """The model judged on the site's test rows: counts with noise, or exact sums, which no noise covers and no budget
    counts. Null lets none leave."""
    least_group: Count = 20
    """Groups of fewer test rows are withheld."""
    statistics: Release | None = None
    """Counts and histograms of the rows before any training. Null lets none leave."""
    rows_rounded_to: Count = 100
    """The number of training rows is stated as a multiple of this."""

    @field_validator("evaluation", mode="before")
    @classmethod
    def _said(cls, value: Any) -> Any:
        if value is True:
            raise ValueError("say which: exact, which no noise covers, or {noise_multiplier: NUMBER}")
        return None if value is False else value


class Rule(Section):
    """What is allowed on one data set."""

    data_set: str
    requesters: tuple[Name, ...] = ()
    organisations: tuple[str, ...] = ()
    """Requesters of these organisations, besides those named."""
    programs: Annotated[tuple[str, ...], Field(min_length=1)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    optimizers: tuple[str, ...] = ("sgd",)
    code: dict[FunctionName, Hex64 | str] = {}  # noqa: RUF012 - pydantic copies it
    """Functions of a study's own that may run here, installed by the owner, with the digest of their code."""
    settings: dict[SettingName, Bound] = {}  # noqa: RUF012
    """Other settings of `program`, `model` and `training` than their defaults, such as `program.mu`: what is not listed
    is refused."""
    privacy: PrivacyTerms | None = None
    """Null allows studies without privacy alone, and only with `unprotected`."""
    unprotected: Flag = False
    """Whether studies without privacy are allowed: their updates can reveal rows."""
    budget: Budget | None = None
    bounds: Bounds = Bounds()
    contributors: Annotated[int, Field(strict=True, ge=2)] = 3
    """Fewest sites of a study, this one included."""
    known_sites: tuple[Name, ...] = ()
    """Sites that count as contributors; where none is named, every one does that the study names."""
    leaves: Leaves = Leaves()
    approval: Literal["hand", "rule"] = "hand"
    """`hand`: each study waits for a decision; `rule`: what is within these terms runs."""
    expires: date | None = None

    @model_validator(mode="after")
    def _possible(self) -> "Rule":
        if self.privacy is not None and self.budget is None:
            raise ValueError("give budget: what may be spent on these rows is the owner's to say")
        if self.privacy is None and not self.unprotected:
            raise ValueError("give privacy, or set unprotected: the rule would allow nothing")
        if not self.requesters and not self.organisations:
            raise ValueError("give requesters or organisations: the rule would allow nobody")
        return self


class Policy(Section):
    """A data owner's terms."""

    requesters: tuple[Requester, ...] = ()
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> "Policy":
        for what, names in (
            ("requesters", [each.name for each in self.requesters]),
            ("rules", [each.data_set for each in self.rules]),
        ):
            if twice := [name for index, name in enumerate(names) if name in names[:index]]:
                raise ValueError(f"{what}: {twice[0]!r} is there twice; which one counts would be a guess")
        return self


def parse_policy(text: str, source: str) -> Policy:
    """Reads a policy.

    Raises:
        FederationError: a line that says which setting is wrong.
    """
    try:
        return Policy.model_validate(_plain(yaml_text.read(text, source).value or {}))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the policy"
        raise FederationError(f"{source}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
    except AccordError as error:
        raise FederationError(str(error)) from error


def signature_path(path: Path) -> Path:
    """Returns where a policy's signature is."""
    return path.with_name(path.name + ".signature")


def sign_policy(path: Path, key: Ed25519PrivateKey, newest: int = 0) -> Policy:
    """Checks a policy's file and signs it under the next version, from which moment on it holds.

    Args:
        path: the file.
        key: the site's key.
        newest: the newest version that the journal names. The signature that is there may be an older one's, or lost.

    Raises:
        FederationError: the file is no policy. The signature of before stays, and no longer fits.
    """
    text = path.read_text(encoding="utf-8")
    policy = parse_policy(text, str(path))
    try:
        stated = _signature(path)[0]
    except FederationError:
        stated = 0
    version = max(newest, stated) + 1
    signed = {"version": version, "signature": key.sign(_covered(version, text)).hex()}
    write_durably(signature_path(path), json.dumps(signed).encode() + b"\n")
    return policy


def _signature(path: Path) -> tuple[int, str]:
    """Returns the version and the signature of a policy's file.

    Raises:
        FederationError: it is none.
    """
    try:
        values = json.loads(signature_path(path).read_text(encoding="utf-8"))
        version, signature = values["version"], values["signature"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FederationError(f"{path}: no signed policy; write one: accord site policy edit") from error
    if not isinstance(version, int) or isinstance(version, bool) or version < 1 or not isinstance(signature, str):
        raise FederationError(f"{signature_path(path)}: damaged; sign the policy: accord site policy edit")
    return version, signature


class PolicyFile:
    """A policy's file, read anew each time it is asked.

    Args:
        path: the file.
        public: the site's own key, which must have signed it.
    """

    def __init__(self, path: Path, public: str) -> None:
        self.path = path
        self._public = public
        self._parsed: tuple[str, Policy] | None = None
        self.version = 0
        """Of the policy when it was last read. It rises with every signature, so that an older policy shows."""

    @property
    def stamp(self) -> dict[str, Any]:
        """`version` and `sha256` of the policy when it was last read, for the journal."""
        return {"version": self.version, "sha256": self.digest}

    @property
    def digest(self) -> str:
        """SHA-256 of the file's text when it was last read, or empty."""
        return "" if self._parsed is None else self._parsed[0]

    def read(self) -> Policy:
        """Returns the policy as it is now.

        Raises:
            FederationError: there is none, it is damaged, or it is not signed as it stands.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise FederationError(f"{self.path}: no signed policy; write one: accord site policy edit") from error
        version, signature = _signature(self.path)
        if not valid(self._public, signature, _covered(version, text)):
            raise FederationError(f"{self.path}: changed since it was signed; sign it: accord site policy edit")
        self.version = version
        digest = sha256(text.encode()).hexdigest()
        # Parsing is what takes time; the file itself is read and its signature checked each time.
        if self._parsed is None or self._parsed[0] != digest:
            self._parsed = (digest, parse_policy(text, str(self.path)))
        return self._parsed[1]


def _covered(version: int, text: str) -> bytes:
    return f"accord policy {version}\n".encode() + text.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_plain, value))
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
