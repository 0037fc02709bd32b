"""Rows of a table that a run works on: which they are, how they are read, what is done to them.

What a run is to do, and the table as the database has it:

=================  =============================================================
``spec_base``      a table and its encrypted columns, as a migration states them
``spec``           ``TableSpec``: the same, with counting
``types_as_data``  inner types, as a job has them
``job``            what a run does to a table
``prepared_job``   that, with the table reflected
``catalog``        what the database tells beside its columns
=================  =============================================================

Where a value stands, and belongs:

=================  ============================================
``stored_keys``    the keys of rows, as they are stored
``walkable_keys``  which of them a table can be walked by
``key_order``      their order, in SQL
``reader``         batches in that order
``places``         the encryption context and key of each value
=================  ============================================

What is done to a batch:

====================  ====================================================================
``row_work``          what every kind of run is, and leaves to be written
``reseal``            values are sealed under the active key version, or for another place
``reseal_and_index``  blind indexes are filled along with that, or values converted
``plaintext``         plaintext columns are sealed, and brought back
====================  ====================================================================
"""
