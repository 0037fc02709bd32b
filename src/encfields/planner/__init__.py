"""What blind indexes on real data would cost and give away: ``encfields index plan``."""
