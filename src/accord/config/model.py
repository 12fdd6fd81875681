"""The `model` section: what is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field

from accord.config.base import Count, Section


class LogisticModel(Section):
    """Softmax regression: one dense layer from the flattened input to the classes."""

    name: Literal["logistic"]


class MlpModel(Section):
    """Dense layers with ReLU between them."""

    name: Literal["mlp"]
    hidden: tuple[Count, ...] = (64,)
    """Width of each hidden layer."""


class TfpCnnModel(Section):
    """The network of TensorFlow Privacy's MNIST example, 26,010 parameters; images of 1x28x28."""

    name: Literal["tfp_cnn"]


class McmahanCnnModel(Section):
    """The CNN of McMahan et al. 2017, 1,663,370 parameters; images of 1x28x28."""

    name: Literal["mcmahan_cnn"]


class CustomModel(Section):
    """A user's own network: `function(input_shape=..., classes=..., **settings)` returns a torch module."""

    name: Literal["custom"]
    function: str
    """`module:function`."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it


Model = Annotated[LogisticModel | MlpModel | TfpCnnModel | McmahanCnnModel | CustomModel, Field(discriminator="name")]
