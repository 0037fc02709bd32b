"""How an encrypted value learns its row on its way through SQLAlchemy."""
