"""Rows: what a run works on, and what it does to the values of a batch."""
