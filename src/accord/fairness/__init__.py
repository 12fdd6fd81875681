"""Fairness: how a model treats each sensitive group, measured from additive counts.

This is a leaf package, which imports `core` alone.
"""
