"""Bulk work over the values of a live table: re-encrypt, rebind, census, verification."""
