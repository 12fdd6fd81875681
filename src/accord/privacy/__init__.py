"""Clipping, noise, accounting, the plan that binds them, and the ledger that refuses.

A leaf: imports `core` alone.
"""
