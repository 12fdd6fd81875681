"""Sweeps: one study under several settings and seeds, run in parallel within the machine; see `accord.sweeps.run`.

May import every room but `cli`.
"""
