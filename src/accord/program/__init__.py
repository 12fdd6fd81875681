"""Federated algorithms, and the client work they are made of.

This package may import `data`, `config` and the leaf packages. It knows no engine, and `base.Engine` says what one can
do.
"""
