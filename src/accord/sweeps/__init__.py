"""Sweeps, which run one study with several settings and seeds in parallel on one machine. See `accord.sweeps.run`.

May import every room but `cli`.
"""
