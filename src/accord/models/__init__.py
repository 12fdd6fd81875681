"""Named networks, which `build` makes by their names in the study.

This is a leaf package, which imports `core` alone.
"""
