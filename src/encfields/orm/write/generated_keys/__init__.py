"""Keys that the database generates, obtained before the INSERT that stores the row.

A value is sealed for its row, so the row's key must be known first. No placeholder for a value is
ever stored.

=========================  =================================================================
``listener``               finds INSERTs that lack a key, and completes and checks them
``keyless``                what such an INSERT inserts, and which keys it lacks
``keyed_insert``           the INSERT with places for them, or with the keys themselves
``pending_key``            a key that is not known yet
``choice``                 picks the method
``postgresql_sequences``   takes numbers from a PostgreSQL sequence
``sqlite_rowids``          predicts SQLite's next row ids while holding its write lock
``mysql_autoincrement``    takes MySQL's numbers by an INSERT that is rolled back
``mysql_found_rows``       rehearses an upsert, which tells the rows that it finds
``upserted``               rehearses PostgreSQL's and SQLite's, which finds rows by another key
``mysql_side_connection``  takes numbers on a separate connection if necessary
``mysql_innodb``           checks that it leaves nothing behind
``rehearsal``              otherwise executes the INSERT with random bytes and rolls it back
``savepoint``              the savepoint for that
``report``                 makes the result report the keys as a plain table's does
=========================  =================================================================
"""
