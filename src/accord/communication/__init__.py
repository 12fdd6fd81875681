"""What crosses the wire, and how many bytes it takes.

A leaf: imports `core` alone.
"""
