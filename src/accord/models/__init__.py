"""Named networks; `build` makes one by its name in the study."""
