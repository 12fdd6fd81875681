"""Named networks; `build` makes one by its name in the study.

A leaf: imports `core` alone.
"""
