"""Messages between server and clients, and their size in bytes.

This package imports only `core`.
"""
