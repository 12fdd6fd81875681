"""Builds a run from a study: prepares it, trains it round by round, evaluates it and writes its records.

This package may import every other one but `sweeps` and `cli`. It is the only place where they are combined.
"""
