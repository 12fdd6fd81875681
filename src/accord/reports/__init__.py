"""Reports: the HTML page, its figures, terminal tables, and the study in words."""
