"""Data sets, the clients that have their rows, and the rows and clients that a round draws.

May import `config` and the leaves.
"""
