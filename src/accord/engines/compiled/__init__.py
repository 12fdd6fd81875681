"""A client's whole round in one compiled call: for networks of dense, convolution, pooling and activation layers."""
