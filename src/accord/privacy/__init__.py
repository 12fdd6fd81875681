"""Clipping, noise, accounting, the privacy plan, and the ledger that enforces budgets.

This package imports only `core`.
"""
