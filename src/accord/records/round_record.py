"""The record of a round, one frozen value that is stored as one line of `rounds.jsonl`.

It has only counts and sums, so that records add up over clients, rounds and sites.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from accord.tasks.base import TaskKind
from accord.tasks.kinds import kind_of_scores


@dataclass(frozen=True)
class TestScores:
    """Scores of the model on the test set.

    Attributes:
        scores: values by name, None where a value is not finite. The task kind defines the names.
        n: number of test rows.
    """

    __test__ = False  # not a pytest class

    scores: Mapping[str, float | None]
    n: int

    def __getitem__(self, name: str) -> float | None:
        """Returns a score by name, or None if there is none of that name."""
        return self.scores.get(name)

    @property
    def kind(self) -> TaskKind:
        """The kind of task that has these scores."""
        return kind_of_scores(self.scores)

    def as_json(self) -> dict[str, Any]:
        """Returns JSON-ready values. `accuracy` and `loss` are present for every kind, null where the kind has none."""
        return {"accuracy": None, "loss": None, "n": self.n, **self.scores}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "TestScores":
        """The inverse of `as_json`."""
        scores = {name: score for name, score in value.items() if name != "n"}
        known = {score.result_key for score in kind_of_scores(scores).all_scores}
        return TestScores({name: score for name, score in scores.items() if name in known}, value["n"])


@dataclass(frozen=True)
class EpsilonSpread:
    """Spread of epsilon over the clients so far. Clients that never took part count as 0."""

    min: float
    median: float
    max: float


@dataclass(frozen=True, repr=False)
class RoundRecord:
    """One finished round.

    Attributes:
        round: number of the round, from 1.
        cohort: the sampled clients.
        clients: clients whose updates went into the model, in the order of aggregation.
        refused: clients that the ledger excluded because the round would have exceeded their budget.
        samples: number of training samples processed, without padding.
        steps: local steps over all clients.
        test: scores after the round. None in rounds that are not evaluated.
        groups: the mean score of the test rows by group column and group. None if fairness is off or the round is not
            evaluated.
        epsilon: spread over the clients after the round. None without privacy.
        uplink_bytes: bytes of parameters sent by clients.
        downlink_bytes: bytes of parameters sent to clients.
        messages: number of messages in both directions.
        seconds: wall time by stage: `train`, `evaluate`, `records` (the time to write the previous round's record).
        padding: rows of padding computed beside the samples, where clients of different sizes are stacked. None under
            sample- and batch-level privacy, where it would reveal the sizes of private batches.
        measures: measurements of the round made by the program, such as the clip norm it used.
        validation: scores on the validation rows of early stopping. None without early stopping, and where `test` is
            None.
    """

    round: int
    cohort: tuple[int, ...]
    clients: tuple[int, ...]
    refused: tuple[int, ...]
    samples: int
    steps: int
    test: TestScores | None
    groups: dict[str, dict[str, float]] | None
    epsilon: EpsilonSpread | None
    uplink_bytes: int
    downlink_bytes: int
    messages: int
    seconds: dict[str, float] = field(default_factory=dict)
    padding: int | None = 0
    validation: TestScores | None = None
    measures: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Returns one line without lists of clients: round, clients, headline score and epsilon."""
        parts = [f"<RoundRecord {self.round}: {len(self.clients)} of {len(self.cohort)} sampled clients"]
        if self.test is not None:
            key = self.test.kind.headline.result_key
            score = self.test[key]
            parts.append(f"test {key} {'unknown' if score is None else f'{score:.4g}'}")
        parts += [] if self.epsilon is None else [f"epsilon {self.epsilon.max:.4g}"]
        return ", ".join(parts) + ">"

    @property
    def by_group(self) -> str:
        """The name of the score in `groups`, such as `accuracy`."""
        return kind_of_scores(self.test.scores if self.test is not None else ()).local.name

    def as_json(self) -> dict[str, Any]:
        """Returns the record as JSON-ready values."""
        evaluated = {"test": self.test, "validation": self.validation}
        return asdict(self) | {name: None if each is None else each.as_json() for name, each in evaluated.items()}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "RoundRecord":
        """The inverse of `as_json`."""
        fields = dict(value)
        for name in ("cohort", "clients", "refused"):
            fields[name] = tuple(fields[name])
        fields["test"] = TestScores.from_json(fields["test"]) if fields["test"] else None
        # `get`, because records of earlier versions have no such key.
        fields["validation"] = TestScores.from_json(fields["validation"]) if fields.get("validation") else None
        fields["epsilon"] = EpsilonSpread(**fields["epsilon"]) if fields["epsilon"] else None
        return RoundRecord(**fields)


def finite(value: float) -> float | None:
    """Returns `value`, or None where JSON has no number for it (NaN, infinity).

    >>> finite(float("nan")) is None, finite(0.5)
    (True, 0.5)
    """
    return value if math.isfinite(value) else None
