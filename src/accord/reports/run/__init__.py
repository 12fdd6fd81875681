"""The report of one run: sections, page, terminal tables."""
