"""Fairness: what a model gives to each sensitive group, measured from counts that add.

A leaf: imports `core` alone.
"""
