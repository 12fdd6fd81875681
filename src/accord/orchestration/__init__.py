"""From a study to a finished run: prepared, trained round by round, scored, written.

May import every room but `sweeps` and `cli`. It alone puts them together.
"""
