"""Trains a client's whole round in one compiled call, for dense, convolution, pooling and activation layers."""
