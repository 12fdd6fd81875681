"""The `imbalance` section, which sets the share of the training rows that a sensitive group has."""

import math
from typing import Annotated

from pydantic import Field, model_validator

from accord.config.base import Count, Flag, NonNegativeInt, Section

Share = Annotated[float, Field(strict=True, ge=0, le=1)]


class Imbalance(Section):
    """Training rows drawn so that a group has the share asked for; a test set in which all groups are as large."""

    group: str
    """A group column of the data, or `label`."""
    value: str | None = None
    """The column's value whose share is set; all other values together are the other group."""
    share: Share | None = None
    """Share of `value` among the training rows."""
    shares: dict[str, Share] | None = None
    """In place of value and share: the share of each of several values, 1 together; other values are left out."""
    rows: Count | None = None
    """Training rows in all; null takes as many as this share leaves possible."""
    balance_labels: Flag = False
    """Whether each group, in training and test rows, has equally many rows of each label."""
    test_rows_per_group: Count | None = None
    """Test rows of each group; null takes as many as the smallest group has."""
    test_seed: NonNegativeInt = 0
    """What the draw of test rows follows from, whatever the study's seed."""

    @model_validator(mode="after")
    def _consistent(self) -> "Imbalance":
        if self.shares is None:
            if self.value is None or self.share is None:
                raise ValueError("give value and share, or shares")
        elif self.value is not None or self.share is not None:
            raise ValueError("give value and share, or shares, not both")
        elif not math.isclose(sum(self.shares.values()), 1, abs_tol=1e-9):
            raise ValueError(f"shares add up to {sum(self.shares.values()):.6g}; make them add up to 1")
        if self.group == "label" and self.balance_labels:
            raise ValueError("balance_labels would undo the shares of group label; leave it out")
        return self
