"""What travels between organisations: signed messages, artefacts, and the exchange that carries them over HTTPS.

Knows nothing of models, data or privacy. May import `accord.core` alone.
"""
