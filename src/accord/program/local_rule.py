"""What a program changes in a client's local training: a `LocalRule`, a frozen value.

Client work, stacked training and compiled training ask a rule what it does (`corrects`, `carries`, `sends`), never
which rule it is. A rule of a new program is a subclass in that program's own module, and no engine knows of it.

A rule reads parameters that have been noised already where the plan noises local steps, and what was released before.
So all it computes is post-processing, and no rule can cost privacy under units `sample` and `batch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from accord.core import params as p
from accord.core.params import Params


class RoundEnd(NamedTuple):
    """A client's round as its rule sees it at the end; every mapping goes by the names of the trained parameters.

    Attributes:
        params: after the last step.
        start: the round's parameters, which the server sent.
        server: what the server sent beside them under the rule's prefix; empty where it sent nothing.
        offset: what `LocalRule.offset` gave for this client and round.
        steps: local steps taken, at least 1.
        rate: the learning rate of plain SGD; None of any other optimiser.
    """

    params: Params
    start: Params
    server: Params
    offset: Params
    steps: int
    rate: float | None


class RuleResult(NamedTuple):
    """What comes of a rule at the end of a client's round, by the names of the trained parameters.

    Attributes:
        carried: what the client keeps until its next round.
        sent: what it sends beside its update; empty where the rule sends nothing.
    """

    carried: Params
    sent: Params


@dataclass(frozen=True)
class LocalRule:
    """Local training with a proximal term and layers of each client's own; by default neither.

    A subclass sets `prefix` and overrides `offset` and `finish` where a client keeps a value for each parameter, and
    `correction` where what is added to the gradient is neither an offset nor a proximal term.

    Attributes:
        proximal: mu >= 0: mu (w - w_round) is added to every gradient.
        own: names of parameters and buffers that each client keeps to itself. They start from what it carries.
        prefix: before a parameter's name, the rule's value that goes with it, in what is shared, sent and carried.
            Ends in `/`, which no parameter's name holds. Empty where the rule has no such value.
        sends: whether that value's change is sent beside the update.
        needs_plain_sgd: whether `finish` reads the rate of plain SGD.
    """

    proximal: float = 0.0
    own: tuple[str, ...] = ()

    prefix: ClassVar[str] = ""
    sends: ClassVar[bool] = False
    needs_plain_sgd: ClassVar[bool] = False

    @property
    def anchored(self) -> bool:
        """Whether `correction` reads the round's parameters."""
        return self.proximal != 0

    @property
    def corrects(self) -> bool:
        """Whether anything is added to gradients."""
        return self.anchored or self.has_offset

    @property
    def has_offset(self) -> bool:
        """Whether a client has an offset of its own in a round."""
        return type(self).offset is not LocalRule.offset

    @property
    def carries(self) -> bool:
        """Whether a client keeps anything from round to round."""
        return bool(self.own) or bool(self.prefix)

    def sent(self, trainable: tuple[str, ...]) -> tuple[str, ...]:
        """Names of what is sent beside the update."""
        return tuple(self.prefix + name for name in trainable) if self.sends else ()

    def values(self, params: Mapping[str, Tensor]) -> Params:
        """The rule's own values in what is shared or carried, by the names of the parameters they go with."""
        if not self.prefix:
            return {}
        return {name.removeprefix(self.prefix): value for name, value in params.items() if name.startswith(self.prefix)}

    def offset(self, server: Params, client: Params) -> Params:
        """What is added to every gradient of a client's round, by parameter; empty for nothing.

        Args:
            server: what the server sent under the prefix.
            client: what the client carries under the prefix; zeros before its first round.
        """
        return {}

    def correction(self, params: Params, anchor: Params, offset: Params) -> Params:
        """What is added to the gradients at `params`: the offset and mu (w - w_round).

        Pure, and element by element: engines call it on one client's tensors, on tensors of many clients, and on
        tensors whose axes they have moved.

        Args:
            params: before the step.
            anchor: the round's parameters; empty where the rule is not `anchored`.
            offset: as `offset` gave it; may be empty.

        Returns:
            By the names of `params`.
        """
        if not anchor:
            return offset
        pull = {name: self.proximal * (value - anchor[name]) for name, value in params.items()}
        return p.add(pull, offset) if offset else pull

    def finish(self, end: RoundEnd) -> RuleResult:
        """The client's new values, and what it sends of them."""
        return RuleResult({}, {})


PLAIN = LocalRule()
"""Local training as the optimiser does it."""
