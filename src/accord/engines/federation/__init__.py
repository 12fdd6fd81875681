"""Client work at sites: the engine of a run whose clients are organisations, reached through an exchange."""
