"""Errors, checks, random streams, parameters, timing, plugins, versions: what every room may import.

A leaf: imports no other room.
"""
