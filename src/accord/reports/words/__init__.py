"""The study and its numbers as text."""
