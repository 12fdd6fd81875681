"""The study file: its sections (`schema`), and how it is read and written (`load`).

The lowest of the rooms that know of federation. Imports leaves alone.
"""
