"""``make app ON=postgresql``: the example application on a database of the tests' server."""

from __future__ import annotations

import os

from sqlalchemy import create_engine, make_url, text

from examples.clinic.__main__ import main
from tests.servers import postgresql

DATABASE = "encfields_clinic"


def database() -> str:
    """Make the database if it is not there.

    :returns: its URL, for a synchronous psycopg.
    """
    server = make_url(os.environ[postgresql.VARIABLE]).set(drivername="postgresql+psycopg")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        known = text("SELECT 1 FROM pg_database WHERE datname = :name")
        if not connection.scalar(known, {"name": DATABASE}):
            connection.execute(text(f"CREATE DATABASE {DATABASE}"))
    engine.dispose()
    return server.set(database=DATABASE).render_as_string(hide_password=False)


if __name__ == "__main__":
    os.environ["CLINIC_DATABASE_URL"] = database()
    main()
