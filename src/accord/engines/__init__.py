"""Engines, which run the work of clients. They differ in speed, never in result.

This package may import `program`, `data`, `config` and packages that import `core` only. `vectorised` builds on
`compiled`, and `compiled` on `stacked`.
"""
