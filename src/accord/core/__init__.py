"""Leaf modules that every room may import: errors, checks, random streams, parameters, tasks, timing, plugins."""
