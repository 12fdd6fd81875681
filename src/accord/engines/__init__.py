"""Where client work runs. Engines differ in speed, never in result."""
