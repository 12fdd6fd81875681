"""Defines `LocalRule`, a frozen value that says what a program changes in a client's local training.

Client work, stacked training and compiled training ask a rule what it does (`corrects`, `carries`, `sends`), never
which rule it is. The rule of a new program is a subclass in that program's own module, and no engine knows of it.

A rule reads what was released before, and parameters that are already noised where the plan noises local steps. All it
computes is therefore post-processing, and no rule can cost privacy under units `sample` and `batch`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from accord.core import params as p
from accord.core.params import Params


class RoundEnd(NamedTuple):
    """The end of a client's round as its rule sees it. Every mapping is keyed by the names of the trained parameters.

    Attributes:
        params: the parameters after the last step.
        start: the round's parameters, which the server sent.
        server: what else the server sent under the rule's prefix, or empty where it sent nothing.
        offset: what `LocalRule.offset` returned for this client and round.
        steps: local steps taken, at least 1.
        rate: the learning rate of plain SGD, or None for any other optimiser.
    """

    params: Params
    start: Params
    server: Params
    offset: Params
    steps: int
    rate: float | None


class RuleResult(NamedTuple):
    """The result of a rule at the end of a client's round, by the names of the trained parameters.

    Attributes:
        carried: what the client keeps until its next round.
        sent: what it sends in addition to its update, or empty where the rule sends nothing.
    """

    carried: Params
    sent: Params


@dataclass(frozen=True)
class LocalRule:
    """Local training with a proximal term and layers of each client's own, by default neither.

    A subclass sets `prefix` and overrides `offset` and `finish` where a client keeps a value for each parameter. It
    overrides `correction` where what is added to the gradient is neither an offset nor a proximal term.

    Attributes:
        proximal: mu >= 0. The term mu (w - w_round) is added to every gradient.
        own: names of parameters and buffers that each client keeps to itself. They start from what it carries.
        prefix: the prefix that marks the rule's value of a parameter in what is shared, sent and carried. It ends in
            `/`, which no parameter's name contains. Empty where the rule has no such value.
        sends: whether the change of that value is sent with the update.
        needs_plain_sgd: whether `finish` reads the rate of plain SGD.
    """

    proximal: float = 0.0
    own: tuple[str, ...] = ()

    # Class variables, since they belong to the kind of rule and are no settings of one.
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
        # Known from the class, before any offset is computed.
        return type(self).offset is not LocalRule.offset

    @property
    def carries(self) -> bool:
        """Whether a client keeps anything from round to round."""
        return bool(self.own) or bool(self.prefix)

    def sent(self, trainable: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the names of what is sent in addition to the update."""
        return tuple(self.prefix + name for name in trainable) if self.sends else ()

    def values(self, params: Mapping[str, Tensor]) -> Params:
        """Returns the rule's own values in what is shared or carried, by the names of their parameters."""
        if not self.prefix:
            return {}
        return {name.removeprefix(self.prefix): value for name, value in params.items() if name.startswith(self.prefix)}

    def offset(self, server: Params, client: Params) -> Params:
        """Returns what is added to every gradient of a client's round, by parameter, or empty for nothing.

        Args:
            server: what the server sent under the prefix.
            client: what the client carries under the prefix, which is zeros before its first round.
        """
        return {}

    def correction(self, params: Params, anchor: Params, offset: Params) -> Params:
        """Returns what is added to the gradients at `params`, which is the offset plus mu (w - w_round).

        It must be pure. Engines call an override on one client's tensors at a time, or under `torch.func.vmap` over
        clients, so it may be any function of them, such as one of their norms.

        Args:
            params: the parameters before the step.
            anchor: the round's parameters, or empty where the rule is not `anchored`.
            offset: as `offset` returned it, possibly empty.

        Returns:
            The corrections by the names of `params`.
        """
        # Without a pull only the offset is left. An empty result means that nothing is added.
        if not anchor:
            return offset
        pull = {name: self.proximal * (value - anchor[name]) for name, value in params.items()}
        return p.add(pull, offset) if offset else pull

    def finish(self, end: RoundEnd) -> RuleResult:
        """Returns the client's new values, and what it sends of them."""
        return RuleResult({}, {})


def is_elementwise(rule: LocalRule) -> bool:
    """Whether each number of a rule's correction depends on the same number of its arguments alone.

    Only then may an engine call it on tensors of many clients at once. Any other function would mix the clients, and
    what one of them sends would tell of another's rows.
    """
    # Known from the code that runs. A statement of the rule's author could be wrong, which nothing would show.
    return getattr(rule.correction, "__func__", None) is LocalRule.correction


PLAIN = LocalRule()
"""Local training as the optimiser does it, without any change."""
