"""From a study to a finished run: prepared, trained round by round, scored, written."""
