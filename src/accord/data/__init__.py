"""Data sets, who holds which rows of them, and which rows and clients a round draws."""
