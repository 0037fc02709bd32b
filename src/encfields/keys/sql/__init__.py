"""Branch keys in a table of the application's own database."""
