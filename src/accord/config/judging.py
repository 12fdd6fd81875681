"""The `fairness` and `evaluation` sections: how the model is judged."""

from typing import Annotated

from pydantic import Field

from accord.config.base import Count, Flag, Section, Whole


class Fairness(Section):
    """Measures by sensitive group on the test set."""

    groups: tuple[str, ...] = Field(min_length=1)
    """Group columns of the data, or `label`; `a*b` is their intersection."""
    positive: Whole | None = None
    """The label that counts as selected; null takes 1 for two classes and none for more."""
    confidence: Annotated[float, Field(strict=True, gt=0, lt=0.9999)] = 0.95
    """Level of the intervals."""
    min_group_size: Count = 30
    """Groups with fewer test rows are flagged as too small to say."""
    bootstrap: Count = 1000
    """Resamples behind the intervals of gaps."""


class Evaluation(Section):
    """When and on what the model is judged."""

    every: Count = 1
    """Evaluate after every so many rounds, and always after the last."""
    batch_size: Count = 1000
    """Rows at a time; changes memory, not the result."""
    per_client: Flag = True
    """Also judge the model on each client's share of the test rows."""
    twin: Flag = False
    """Also train the same study without privacy, to show what privacy cost."""
    checkpoint_every: Count = 1
    """Rounds between checkpoints; a resumed run repeats what came after the last one."""
