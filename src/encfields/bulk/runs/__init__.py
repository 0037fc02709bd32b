"""Runs: who works at what, how far it is, at which pace, and how it ended."""
