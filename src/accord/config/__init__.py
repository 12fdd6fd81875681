"""The study file: what it may say (`schema`) and how it is read and written (`load`).

The lowest of the rooms that know of federation: imports leaves alone.
"""
