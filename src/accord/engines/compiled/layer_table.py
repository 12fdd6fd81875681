"""How a network is handed to compiled code: a layer is a row of whole numbers, and these are its columns.

- `KIND`; `IN` and `OUT`: numbers of a row before and after it.
- `FROM`, `TO`, `GRAD_FROM`, `GRAD_TO`: regions of its input and output, and of the gradients by these.
- `WEIGHT`, `BIAS`: where they begin among the parameters; -1 without a bias.
- `IN_FEATURES`, `OUT_FEATURES`: the weight is `[IN_FEATURES, OUT_FEATURES]`, or the other way round where `OUT_FIRST`.
- `POSITIONS`: products with the weight that a row needs: 1, or the output pixels of a convolution.
- `PATCHES`, `PATCH_GRADS`, `PADDED`: regions of a convolution's patches, of the gradients by these, and of its padded
  input; -1 where there is none. `ARGMAX`: region of where a pool found each largest number.
- `IN_HEIGHT`, `IN_WIDTH`, `CHANNELS`: its input image; `OUT_HEIGHT`, `OUT_WIDTH`: its output's.
- `KERNEL_*`, `STRIDE_*`, `PAD_*`: its window.
- `PER_SAMPLE_GRAD`: region of each row's own gradient of weight and bias, of a convolution that is clipped by sample.
- `NEEDS_INPUT_GRAD`: whether the gradient by its input is wanted.
"""

DENSE, CONVOLUTION, RELU, TANH, POOL, TO_CHANNELS_FIRST = range(6)
"""Kinds of layers; `TO_CHANNELS_FIRST` puts an image's channels first, as a dense layer after `nn.Flatten` expects."""

KIND, IN, OUT, FROM, TO, GRAD_FROM, GRAD_TO = range(7)
WEIGHT, BIAS, IN_FEATURES, OUT_FEATURES, POSITIONS, OUT_FIRST = range(7, 13)
PATCHES, PATCH_GRADS, PADDED, ARGMAX, PER_SAMPLE_GRAD, NEEDS_INPUT_GRAD = range(13, 19)
IN_HEIGHT, IN_WIDTH, CHANNELS, OUT_HEIGHT, OUT_WIDTH = range(19, 24)
KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PAD_H, PAD_W = range(24, 30)
COLUMNS = 30
