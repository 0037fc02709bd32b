"""The operations as data: what a migration asks for, its inverse, its form in a diff."""
