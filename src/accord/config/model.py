"""The `model` section, which names the network and what of it is trained.

Each model describes itself in a sentence, which reports show.
"""

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from accord.config.base import Count, Positive, Section, counted

Patterns = tuple[str, ...]
"""Names with wildcards as in a shell: `layer1.*`."""


class Lora(Section):
    """Low-rank factors on dense layers, trained and sent alone (Hu et al. 2021)."""

    rank: Count = 4
    """Rank of the change that a layer can learn."""
    alpha: Positive = 8.0
    """The change is scaled by alpha / rank."""
    layers: Patterns = Field(default=("*",), min_length=1)
    """Dense layers that get factors, by name; wildcards as in a shell."""
    also_train: Patterns = ()
    """Parameters that are trained and sent as they are, such as those of a new head."""


class ModelSection(Section):
    """The base of every model, with the weights to start from and the choice of what is trained."""

    pretrained: str | None = None
    """A safetensors file with the weights to start from; null draws them from the seed."""
    pretrained_sha256: str | None = None
    """The SHA-256 that file must have; where it is null, the run writes it into its resolved study."""
    pretrained_except: Patterns = ()
    """Parameters that the file is not asked for, such as those of a new head; wildcards as in a shell."""
    freeze: Patterns = ()
    """Parameters that are neither trained nor sent; wildcards as in a shell."""
    lora: Lora | None = None
    """Low-rank factors on dense layers; null trains the layers themselves."""

    @abstractmethod
    def describe(self, output: str) -> str:
        """Describes the network in a sentence.

        Args:
            output: what it predicts, either `the classes` or `the number predicted`.
        """

    @model_validator(mode="after")
    def _adaptable(self) -> "ModelSection":
        if self.pretrained is None and self.pretrained_except:
            raise ValueError("pretrained_except needs pretrained, the file it makes exceptions to")
        if self.pretrained is None and self.pretrained_sha256 is not None:
            raise ValueError("pretrained_sha256 needs pretrained, the file it is the digest of")
        # Each of the two decides alone which parameters are trained, so together they could contradict one another.
        if self.lora is not None and self.freeze:
            raise ValueError("lora freezes all but its factors and lora.also_train; give lora or freeze, not both")
        return self


class LogisticModel(ModelSection):
    """Softmax regression: one dense layer from the flattened input to the classes."""

    name: Literal["logistic"]

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return "Softmax regression: one dense layer from the input to the classes."


class LinearModel(ModelSection):
    """Linear regression: one dense layer from the flattened input to a number, trained by squared error."""

    name: Literal["linear"]

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return "Linear regression: one dense layer from the input to the number predicted."


class MlpModel(ModelSection):
    """Dense layers with ReLU between them."""

    name: Literal["mlp"]
    hidden: tuple[Count, ...] = (64,)
    """Width of each hidden layer."""

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        if not self.hidden:
            return f"A single dense layer from the input to {output}."
        return f"A multilayer perceptron with ReLU and hidden layers of width {_widths(self.hidden)}."


class TfpCnnModel(ModelSection):
    """The network of TensorFlow Privacy's MNIST example, 26,010 parameters; images of 1x28x28."""

    name: Literal["tfp_cnn"]

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return "The convolutional network of TensorFlow Privacy's MNIST example, 26,010 parameters."


class McmahanCnnModel(ModelSection):
    """The CNN of McMahan et al. 2017, 1,663,370 parameters; images of 1x28x28."""

    name: Literal["mcmahan_cnn"]

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return "The convolutional network of McMahan et al. 2017, 1,663,370 parameters."


class Resnet18Model(ModelSection):
    """ResNet-18 (He et al. 2016) with group norm in place of batch norm; images of any size."""

    name: Literal["resnet18"]
    stem: Literal["small", "imagenet"] = "small"
    """`small`: a 3x3 convolution, for images of some 32 pixels. `imagenet`: 7x7 at stride 2, then max-pooling."""
    groups: Count = 2
    """Groups of each group norm; divides `width`."""
    width: Count = 64
    """Channels of the first stage; the other three have 2, 4 and 8 times as many."""

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        stem = "a 3×3 stem" if self.stem == "small" else "ImageNet's 7×7 stem"
        width, groups = counted(self.width, "channel"), counted(self.groups, "group")
        return (
            f"ResNet-18 (He et al. 2016) with {stem}, {width} in its first stage, and group norm of {groups} in "
            "place of batch norm."
        )


class LstmModel(ModelSection):
    """Tokens through an embedding and LSTM layers; the last state predicts the class."""

    name: Literal["lstm"]
    embedding: Count = 8
    """Numbers that a token becomes."""
    hidden: tuple[Count, ...] = Field(default=(64,), min_length=1)
    """Width of each LSTM layer."""
    vocabulary: Count | None = None
    """How many different tokens there are; null takes the number of classes, as the next character needs."""

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return (
            f"An LSTM over tokens: an embedding of {counted(self.embedding, 'number')}, then layers of width "
            f"{_widths(self.hidden)}."
        )


class CustomModel(ModelSection):
    """A user's own network: `function(input_shape=..., classes=..., **settings)` returns a torch module."""

    name: Literal["custom"]
    function: str
    """`module:function`."""
    settings: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it

    def describe(self, output: str) -> str:
        """Describes the network in a sentence."""
        return f"The user's own network, {self.function}."


def _widths(hidden: tuple[int, ...]) -> str:
    return ", ".join(f"{width:,}" for width in hidden)


Model = Annotated[
    LogisticModel | LinearModel | MlpModel | TfpCnnModel | McmahanCnnModel | Resnet18Model | LstmModel | CustomModel,
    Field(discriminator="name"),
]
