"""The rows that a run works on: describing the table, reading batches, changing values.

What a run does, and the table as the database has it:

=================  =============================================================
``spec_base``      a table and its encrypted columns, as a migration states them
``spec``           ``TableSpec``: the same, with counting
``types_as_data``  inner types as plain data
``job``            what a run does to a table
``prepared_job``   a job with its table reflected
``catalog``        what the catalog tells that reflection does not
``changed_keys``   what the database itself changes of a row's identity
=================  =============================================================

Keys, batches, and the place of each value:

=================  ============================================
``stored_keys``  primary keys as stored
``walkable_keys``  which of them a table can be walked by
``key_order``    their order in SQL
``reader``       reads batches in that order
``places``         the encryption context and key of each value
=================  ============================================

What a run does to a batch:

====================  ====================================================================
``row_work``          the interface of all kinds of runs, and their outcome
``run_keys``          the keys that it asks for, and those that are set aside
``reseal``            seals values under the active key version, or for another place
``reseal_and_index``  fills blind indexes as well, or values converted
``plaintext``         seals plaintext columns, and restores them
``equal_values``      tells whether two plaintexts are one value in two spellings
====================  ====================================================================
"""
