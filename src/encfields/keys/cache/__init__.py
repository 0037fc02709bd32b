"""The cache in front of a key store."""
