"""ResNet-18 with group norm instead of batch norm.

K. He, X. Zhang, S. Ren, J. Sun. Deep Residual Learning for Image Recognition. CVPR 2016, arXiv 1512.03385, table 1
and figure 5 (left). y = relu(F(x) + shortcut(x)), with a 1x1 convolution as shortcut where the shape changes (option
B).

K. Hsieh, A. Phanishayee, O. Mutlu, P. Gibbons. The Non-IID Data Quagmire of Decentralized Machine Learning. ICML
2020, arXiv 1910.00189, section 5. Batch norm fails on skewed clients, group norm does not. Group norm also does not mix
samples, which privacy by sample forbids.

Parameters are named as in torchvision's `resnet18`, so that its weights trained with group norm can be loaded.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from accord.core.errors import StudyError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, from `[batch, into, h, w]` to `[batch, out, h / stride, w / stride]`."""

    def __init__(self, into: int, out: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride=stride, padding=1, bias=False)
        # Group norms, but named as torchvision's batch norms, so that its weights can be loaded.
        self.bn1 = nn.GroupNorm(groups, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.GroupNorm(groups, out)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or into != out:
            projection = nn.Conv2d(into, out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.GroupNorm(groups, out))

    def forward(self, x: Tensor) -> Tensor:
        """Computes relu(F(x) + shortcut(x))."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """The module of `resnet18`, from `[batch, channels, h, w]` to logits `[batch, classes]`."""

    def __init__(self, channels: int, classes: int, stem: str, groups: int, width: int) -> None:
        super().__init__()
        small = stem == "small"
        # Small images would lose most of their pixels to stride 2 and pooling.
        size, stride = (3, 1) if small else (7, 2)
        self.conv1 = nn.Conv2d(channels, width, size, stride=stride, padding=size // 2, bias=False)
        self.bn1 = nn.GroupNorm(groups, width)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, 1, groups)
        self.layer2 = _stage(width, 2 * width, 2, groups)
        self.layer3 = _stage(2 * width, 4 * width, 2, groups)
        self.layer4 = _stage(4 * width, 8 * width, 2, groups)
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Only convolutions: norms and the dense layer keep PyTorch's values.
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Applies the stem, four stages of two blocks, the mean over all positions, and one dense layer."""
        y = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        out: Tensor = self.fc(y.mean((2, 3)))
        return out


def _stage(into: int, out: int, stride: int, groups: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(into, out, stride, groups), BasicBlock(out, out, 1, groups))


def resnet18(
    input_shape: Sequence[int],
    classes: int,
    *,
    stem: Literal["small", "imagenet"] = "small",
    groups: int = 2,
    width: int = 64,
) -> nn.Module:
    """ResNet-18 with group norm, with 11,173,962 parameters for 3-channel images, 10 classes and the small stem.

    Initial values are as in He et al. 2015 (arXiv 1502.01852, eq. 10 by outputs), normal of variance 2 / fan-out. Norms
    start as the identity. Two groups are those of Reddi et al. 2021 (arXiv 2003.00295, appendix C).

    Args:
        input_shape: `(channels, height, width)` with 1 or 3 channels.
        classes: the number of labels.
        stem: `small` is a 3x3 convolution without pooling, for small images (He et al. 2016, section 4.2). `imagenet`
            is a 7x7 one at stride 2, then 3x3 max-pooling at stride 2.
        groups: groups of each norm, a divisor of `width`.
        width: channels of the first stage.

    Returns:
        A module from `[batch, *input_shape]` to logits `[batch, classes]`.

    Raises:
        StudyError: the data has no images of 1 or 3 channels, or `groups` does not divide `width`.
    """
    if len(input_shape) != 3 or input_shape[0] not in (1, 3):
        shape = "x".join(map(str, input_shape))
        raise StudyError(
            f"model.name: resnet18 takes images of 1 or 3 channels, channels first, but the data has {shape}; "
            "use mlp or logistic"
        )
    if width % groups:
        raise StudyError(f"model.groups: {groups} groups do not divide model.width {width}; choose a divisor")
    return ResNet18(input_shape[0], classes, stem, groups, width)
