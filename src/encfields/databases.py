"""The databases that can be used, by SQLAlchemy's names of their dialects."""

from __future__ import annotations

MYSQL_NAMES = frozenset({"mysql", "mariadb"})
"""What MariaDB and MySQL are called, depending on an engine's URL."""

SUPPORTED = MYSQL_NAMES | {"postgresql", "sqlite"}
"""Those in which the row's key can be delivered beside a value."""
