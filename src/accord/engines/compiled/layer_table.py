"""Columns of the integer table by which a network is passed to compiled code, one row a layer.

- `KIND` is the kind of the layer. `IN` and `OUT` are the numbers of a sample before and after it.
- `FROM`, `TO`, `GRAD_FROM` and `GRAD_TO` are the regions of its input and output, and of the gradients by these.
- `WEIGHT` and `BIAS` are the places where these begin among the parameters. `BIAS` is -1 without a bias.
- `IN_FEATURES` and `OUT_FEATURES` give the weight's shape, `[IN_FEATURES, OUT_FEATURES]`. Where `OUT_FIRST` is set, the
  two axes are swapped.
- `POSITIONS` is the number of products with the weight that a sample needs, 1 or the output pixels of a convolution.
- `PATCHES`, `PATCH_GRADS` and `PADDED` are the regions of a convolution's patches, of the gradients by these, and of
  its padded input. They are -1 where there is none.
- `ARGMAX` is the region where a pool notes the place of each largest number.
- `IN_HEIGHT`, `IN_WIDTH` and `CHANNELS` describe the input image, `OUT_HEIGHT` and `OUT_WIDTH` the output image.
- `KERNEL_*`, `STRIDE_*` and `PAD_*` describe its window.
- `PER_SAMPLE_GRAD` is the region of each sample's gradient by weight and bias, for a convolution clipped by sample.
- `NEEDS_INPUT_GRAD` says whether the gradient by its input is needed.

A region is stored as its offset for a single sample. In memory it begins at this offset times the number of samples
worked on at once.
"""

DENSE, CONVOLUTION, RELU, TANH, POOL, TO_CHANNELS_FIRST = range(6)
"""Kinds of layers. `TO_CHANNELS_FIRST` puts an image's channels first, as a dense layer after `nn.Flatten` expects."""

KIND, IN, OUT, FROM, TO, GRAD_FROM, GRAD_TO = range(7)
WEIGHT, BIAS, IN_FEATURES, OUT_FEATURES, POSITIONS, OUT_FIRST = range(7, 13)
PATCHES, PATCH_GRADS, PADDED, ARGMAX, PER_SAMPLE_GRAD, NEEDS_INPUT_GRAD = range(13, 19)
IN_HEIGHT, IN_WIDTH, CHANNELS, OUT_HEIGHT, OUT_WIDTH = range(19, 24)
KERNEL_H, KERNEL_W, STRIDE_H, STRIDE_W, PAD_H, PAD_W = range(24, 30)
COLUMNS = 30
