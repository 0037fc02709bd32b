"""Autogenerate: what a changed declaration means for the values that are stored."""
