"""The command line, a set of thin commands over the library.

May import every room. Nothing imports it.
"""
