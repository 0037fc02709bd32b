"""``encfields doctor``: what would fail in production, found before it does."""
