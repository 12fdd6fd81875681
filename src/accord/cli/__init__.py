"""The command line: thin commands over the library.

May import every room; nothing imports it.
"""
