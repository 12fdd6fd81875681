"""Where client work runs. Engines differ in speed, never in result.

May import `program`, `data`, `config` and the leaves. `vectorised` stands on `compiled`, `compiled` on `stacked`.
"""
