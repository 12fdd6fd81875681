"""Sizes and times that both sides of the service know."""

MOST_WAIT_S = 20.0
"""Seconds for which a request is held open, at most: proxies close idle ones after 30 or 60."""
MOST_JSON = 4 * 2**20
"""Bytes of a body of JSON, at most."""
PIECE = 8 * 2**20
"""Bytes of one piece of an artefact, at most."""
INLINE = 8 * 2**20
"""Bytes of artefacts that one request carries beside its JSON, at most."""
BODY_S = 60.0
"""Seconds in which a body must have arrived."""
HEAD_S = 15.0
"""Seconds in which a request's head must have arrived."""
MOST_CONNECTIONS = 2000
"""Connections at a time."""
TOTAL = "x-accord-total"
"""The header with the size of an artefact of which a piece is sent."""
