"""Federated algorithms, and the client work they are made of."""
