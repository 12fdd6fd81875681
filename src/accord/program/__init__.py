"""Federated algorithms, and the client work they are made of.

May import `data`, `config` and the leaves. It knows no engine: `base.Engine` says what one can do.
"""
