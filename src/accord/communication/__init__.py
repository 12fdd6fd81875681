"""What crosses the wire, and how many bytes it takes."""
