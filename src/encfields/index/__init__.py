"""Blind indexes: finding encrypted values by equality."""
