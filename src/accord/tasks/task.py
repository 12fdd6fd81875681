"""A task: a model, its loss and its metrics, used as pure functions of `Params`.

The module in a task is a skeleton. Its own tensors are never trained. Every call takes the parameters as an argument
(`torch.func.functional_call`), so the same skeleton serves every client and `vmap`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from accord.core.errors import StudyError
from accord.core.params import Params
from accord.tasks.base import TaskKind
from accord.tasks.kinds import kind_of_classes

BATCH_NORM = nn.modules.batchnorm._BatchNorm
_DROPOUT = (nn.modules.dropout._DropoutNd, nn.RNNBase, nn.MultiheadAttention)


Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs `[batch, classes]` (or 1) and targets `[batch]` to the loss of each row, `[batch]`."""


@dataclass(frozen=True)
class Task:
    """Classification of `x` into `classes` labels by `model`, or regression if there are no classes.

    Attributes:
        model: maps `x` of shape `[batch, ...]` to outputs, which are logits `[batch, classes]` or predictions `[batch,
            1]`.
        classes: the number of labels, which are integers in `[0, classes)`. 0 where the target is a number.
        loss: the training loss. It maps outputs and targets `[batch, ...]` to `[batch]`, each row's loss by itself.
            None takes `per_sample`.
        unused: names of parameters that outputs do not depend on. Plain training does not change them, by weight decay
            or momentum, just as `torch.optim` with a gradient of None. `unreached` finds them.
        kind: what is learned, with its loss and its scores.
        evaluated: a copy of the skeleton in evaluation mode (batch norm uses its running statistics).
        trainable: names of the parameters that get gradients.
        buffers: names of floating-point buffers that are sent with the parameters (batch norm's statistics).

    Raises:
        StudyError: the model draws random numbers of its own while training (dropout), has a batch norm without
            momentum, or has an embedding with a `max_norm`. Such draws come from no named stream and would break
            reproducibility. A `max_norm` makes the embedding write its weights in `forward`, without the optimiser.
    """

    model: nn.Module
    classes: int
    loss: Loss | None = None
    unused: tuple[str, ...] = ()
    kind: TaskKind = field(init=False, repr=False)
    evaluated: nn.Module = field(init=False, repr=False)
    trainable: tuple[str, ...] = field(init=False)
    buffers: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        # The dataclass is frozen, so derived fields are set past its guard.
        object.__setattr__(self, "kind", kind_of_classes(self.classes))
        for name, module in self.model.named_modules():
            if isinstance(module, _DROPOUT) and getattr(module, "p", getattr(module, "dropout", 0)) > 0:
                raise StudyError(
                    f"model: layer {name!r} is dropout, whose draws come from no named stream; set its p to 0"
                )
            if getattr(module, "max_norm", None) is not None:
                raise StudyError(
                    f"model: layer {name!r} has a max_norm, with which PyTorch writes its weights in forward, past the "
                    "optimizer; set max_norm to None, or normalise what the layer gives"
                )
            if isinstance(module, BATCH_NORM) and module.momentum is None:
                raise StudyError(f"model: batch norm {name!r} needs a momentum; cumulative averaging is not kept")
        for module in self.model.modules():
            if isinstance(module, BATCH_NORM):
                # Only cumulative averaging reads this counter. Changing it in place would make steps impure.
                module.num_batches_tracked = None
        self.model.train()
        # A copy, since switching one skeleton between modes would not be safe for threads.
        object.__setattr__(self, "evaluated", copy.deepcopy(self.model).eval())
        trainable = tuple(name for name, value in self.model.named_parameters() if value.requires_grad)
        if not trainable:
            raise StudyError("model: no parameter requires a gradient, so there is nothing to train")
        object.__setattr__(self, "trainable", trainable)
        buffers = tuple(name for name, value in self.model.named_buffers() if value.is_floating_point())
        object.__setattr__(self, "buffers", buffers)

    @property
    def regression(self) -> bool:
        """Whether a number is predicted, not a class."""
        return not self.classes

    def init(self, dtype: torch.dtype = torch.float32) -> Params:
        """Returns the skeleton's own initial values: every parameter, then every floating-point buffer."""
        values = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        frozen = [name for name, value in self.model.named_parameters() if not value.requires_grad]
        names = [*self.trainable, *frozen, *self.buffers]
        return {name: values[name].detach().to(dtype).clone() for name in names}

    def keeps_statistics(self) -> bool:
        """Says whether a layer mixes the samples of a batch or keeps running statistics, which no noise covers."""
        norms = [module for module in self.model.modules() if isinstance(module, nn.modules.batchnorm._NormBase)]
        return any(isinstance(norm, BATCH_NORM) or norm.track_running_stats for norm in norms)

    def remembers(self, shape: tuple[int, ...], rng: np.random.Generator, *, tokens: bool = False) -> bool:
        """Says whether the network's output changes after it has seen other rows. This is found by trial, not by proof.

        Args:
            shape: the shape of one sample.
            rng: draws the trial's rows.
            tokens: whether features are tokens (int64) instead of numbers.
        """
        model = copy.deepcopy(self.model)
        params = {name: value.to(torch.float32) for name, value in self.init().items()}
        if tokens:
            x, x_other = (torch.from_numpy(rng.integers(2, size=(3, *shape))) for _ in range(2))
        else:
            # The other rows are 50 times as large, so that statistics which leak from them change the answer visibly.
            x, x_other = (torch.from_numpy(rng.standard_normal((3, *shape), dtype=np.float32) * k) for k in (1, 50))

        def answer(x: Tensor) -> Tensor:
            given = {name: value.clone() for name, value in params.items()}
            with torch.no_grad():
                return functional_call(model, given, (x,))  # type: ignore[no-any-return]

        first = answer(x)
        answer(x_other)
        return not torch.equal(first, answer(x))

    def written(self, x: Tensor) -> tuple[str, ...]:
        """Returns the parameters and floating-point buffers that a forward pass in training mode writes.

        They are found by trial, at the initial values and at a hundred times these. Code that keeps weights within
        bounds does not write those that are within them.

        Args:
            x: rows to try, `[batch, ...]`.
        """
        names: dict[str, None] = {}
        for scale in (1.0, 100.0):
            params = {name: value * scale for name, value in self.init(torch.float32).items()}
            given = {name: value.clone() for name, value in params.items()}
            with torch.no_grad():
                functional_call(copy.deepcopy(self.model), given, (x,))
            # NaN is not equal to itself, and large weights may give some.
            same = {name: torch.equal(value.nan_to_num(), params[name].nan_to_num()) for name, value in given.items()}
            names |= dict.fromkeys(name for name, unchanged in same.items() if not unchanged)
        return tuple(names)

    def unreached(self, x: Tensor) -> tuple[str, ...]:
        """Returns the trainable parameters that the outputs do not depend on, whose gradient is None in PyTorch.

        Args:
            x: rows to try, `[batch, ...]`.
        """
        params = {name: value.requires_grad_(name in self.trainable) for name, value in self.init().items()}
        outputs = self.logits(params, x)
        leaves = [params[name] for name in self.trainable]
        gradients = torch.autograd.grad(outputs.sum(), leaves, allow_unused=True)
        return tuple(name for name, value in zip(self.trainable, gradients, strict=True) if value is None)

    def logits(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Computes outputs `[batch, classes]` (or 1) in training mode. Batch norm updates its buffers in `params`.

        The network gets copies of what is trained, but the buffers themselves. A network that writes its parameters in
        `forward`, such as an embedding with a largest norm, would otherwise write training data into the model without
        clipping and noise.
        """
        trainable = set(self.trainable)
        given = {name: value.clone() if name in trainable else value for name, value in params.items()}
        out: Tensor = functional_call(self.model, given, (x,))
        return out

    def predict(self, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Computes outputs `[batch, classes]` (or 1) in evaluation mode, for `x` of shape `[batch, ...]`.

        It does not change `params`.
        """
        given = {name: value.clone() for name, value in params.items()}
        out: Tensor = functional_call(self.evaluated, given, (x,))
        return out

    def losses(self, params: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Computes the `training_loss` of each sample in training mode, shape `[batch]`."""
        return self.training_loss(self.logits(params, x), y)

    def training_loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Computes what is minimised, shape `[batch]`, which is the task's own `loss`, or else `per_sample`."""
        return self.per_sample(outputs, y) if self.loss is None else self.loss(outputs, y)

    def per_sample(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Computes the loss of each sample, shape `[batch]`. A batch's loss is the mean, as in PyTorch's losses.

        Args:
            outputs: outputs of the network, `[batch, classes]`, or `[batch, 1]` in a regression.
            y: targets, `[batch]`.
        """
        return self.kind.loss(outputs, y)
