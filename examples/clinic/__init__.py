"""A clinic's application: what it sees, beside what its database holds. ``make app`` starts it."""
