"""The report of a sweep: its folder, figures, sections and page."""
