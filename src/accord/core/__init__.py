"""Errors, checks, random streams, parameters, timing, plugins and versions, which every package may import.

This package imports no other one.
"""
