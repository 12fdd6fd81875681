"""How a network is handed to compiled code: a layer is a row of whole numbers, and these are its columns.

- `KIND`; `IN` and `OUT`: numbers of a row before and after it.
- `FROM`, `TO`, `SLOPE_FROM`, `SLOPE_TO`: regions of its input and output, and of the gradients by these.
- `WEIGHT`, `BIAS`: where they begin among the parameters; -1 without a bias.
- `DEPTH`, `WIDE`: the weight is `[DEPTH, WIDE]`, or `[WIDE, DEPTH]` where `OUT_FIRST`; `PLACES` products with it a row.
- `PATCHES`, `PATCH_SLOPES`, `PADDED`: regions of a convolution's patches, of the gradients by these, and of its padded
  input; -1 where there is none. `PICKED`: region of what a pool picked.
- `HIGH`, `ACROSS`, `CHANNELS`: its input image; `PLACES_*`: its output's; `KERNEL_*`, `STEP_*`, `PAD_*`: its window.
- `ALONE`: region of each row's own gradient of weight and bias, of a convolution that is clipped by sample.
- `FURTHER`: whether the gradient by its input is wanted.
"""

DENSE, CONVOLUTION, RELU, TANH, POOL, TURN = range(6)
"""Kinds of layers; `TURN` puts an image's channels first, as a dense layer after `nn.Flatten` expects."""

KIND, IN, OUT, FROM, TO, SLOPE_FROM, SLOPE_TO = range(7)
WEIGHT, BIAS, DEPTH, WIDE, PLACES, OUT_FIRST = range(7, 13)
PATCHES, PATCH_SLOPES, PADDED, PICKED, ALONE, FURTHER = range(13, 19)
HIGH, ACROSS, CHANNELS, PLACES_H, PLACES_W = range(19, 24)
KERNEL_H, KERNEL_W, STEP_H, STEP_W, PAD_H, PAD_W = range(24, 30)
COLUMNS = 30
