"""Keys that the database generates, fetched before the INSERT that stores the row.

A value is sealed for its row, so the row's key has to be known first, and nothing is ever stored
that stands for a value. :mod:`.listener` finds the INSERTs that lack a key, :mod:`.choice` picks
the method: PostgreSQL gives out numbers of a sequence (:mod:`.sequences`), SQLite's next row ids
are known once its write lock is held (:mod:`.rowids`), and elsewhere the INSERT is rehearsed with
random bytes and undone (:mod:`.rehearsal`). :mod:`.stored_keys` looks that the rows were stored
under the keys that their values were sealed for.
"""
