"""The two published convolutional networks for MNIST-sized images, layer for layer."""

from collections.abc import Sequence

from torch import nn

from accord.core.errors import StudyError

_IMAGE = (1, 28, 28)


def tfp_cnn(input_shape: Sequence[int], classes: int) -> nn.Module:
    """The network of TensorFlow Privacy's MNIST tutorial, with 26,010 parameters for 10 classes.

    It has Keras' initial values, as there. Weights are Glorot-uniform (Glorot & Bengio 2010, eq. 16), and biases zero.
    TensorFlow's `same` padding of an 8x8 kernel at stride 2 on 28 pixels is 6 in total, 3 on each side.

    Args:
        input_shape: must be `(1, 28, 28)`.
        classes: the number of labels.

    Returns:
        A module from `[batch, 1, 28, 28]` to logits `[batch, classes]`.

    Raises:
        StudyError: the data has another shape.
    """
    _require_image("tfp_cnn", input_shape)
    network = nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=8, stride=2, padding=3),  # 16 x 14 x 14
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=1),  # 16 x 13 x 13
        nn.Conv2d(16, 32, kernel_size=4, stride=2),  # 32 x 5 x 5
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=1),  # 32 x 4 x 4
        nn.Flatten(),
        nn.Linear(512, 32),
        nn.ReLU(),
        nn.Linear(32, classes),
    )
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def mcmahan_cnn(input_shape: Sequence[int], classes: int) -> nn.Module:
    """The CNN of McMahan et al. 2017 (arXiv 1602.05629, section 3), with 1,663,370 parameters for 10 classes.

    The paper gives no initial values, so these are PyTorch's.

    Args:
        input_shape: must be `(1, 28, 28)`.
        classes: the number of labels.

    Returns:
        A module from `[batch, 1, 28, 28]` to logits `[batch, classes]`.

    Raises:
        StudyError: the data has another shape.
    """
    _require_image("mcmahan_cnn", input_shape)
    return nn.Sequential(
        nn.Conv2d(1, 32, kernel_size=5, padding=2),  # 32 x 28 x 28
        nn.ReLU(),
        nn.MaxPool2d(2),  # 32 x 14 x 14
        nn.Conv2d(32, 64, kernel_size=5, padding=2),  # 64 x 14 x 14
        nn.ReLU(),
        nn.MaxPool2d(2),  # 64 x 7 x 7
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 512),
        nn.ReLU(),
        nn.Linear(512, classes),
    )


def _require_image(name: str, input_shape: Sequence[int]) -> None:
    if tuple(input_shape) != _IMAGE:
        shape = "x".join(map(str, input_shape))
        raise StudyError(f"model.name: {name} takes images of 1x28x28, but the data has {shape}; use mlp or logistic")
