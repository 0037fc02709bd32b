"""Keys that the database generates, fetched before the INSERT that stores the row.

A value is sealed for its row, so the row's key has to be known first, and nothing is ever stored
that stands for a value.

=========================  =================================================================
``listener``               finds the INSERTs that lack a key, and looks after them
``keyless``                what such an INSERT inserts, and which keys are to come
``pending_key``            a key that is still to come
``choice``                 picks the method
``postgresql_sequences``   PostgreSQL gives out numbers of a sequence
``sqlite_rowids``          SQLite's next row ids are known once its write lock is held
``mysql_autoincrement``    MySQL's numbers are taken by an INSERT that is undone
``mysql_side_connection``  on a connection beside the application's, if need be
``mysql_innodb``           if it leaves nothing behind
``rehearsal``              elsewhere the INSERT itself is done with random bytes, and undone
``savepoint``              up to there
=========================  =================================================================
"""
