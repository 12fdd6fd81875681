"""Runs side by side: the comparison, its figures, page and terminal tables."""
