"""Keyrings: which wrapping keys protect the branch keys, and wrapping with them."""
