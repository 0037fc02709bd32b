"""Declaring: encrypted columns, the keys of their rows, their blind indexes."""
