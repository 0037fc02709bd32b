"""Declarations: encrypted columns, their rows' keys, their blind indexes.

=======================  ===============================================================
``columns``              an encrypted column: its name, its row's identity, its key
``column_rules``         what a column must be to be encrypted
``type_options``         the options of ``EncryptedType``
``row_keys``             the kinds of key columns, and their canonical texts
``formerly``             ``Formerly``: how values were stored before
``table_events``         work done when a table is complete
``awaited_types``        whether a key still awaits its type, from a table declared later
``table_indexes``        the blind indexes of a table
``index_binding``        one version of a blind index: its column and computation
``index_column_type``    the type of that column
``compound_index``       ``CompoundBlindIndex``
``table_constraints``    moves unique constraints and indexes to other columns
``uniqueness``           moves them from encrypted columns to their blind indexes
``table_sql``            refuses SQL over ciphertext in a table's rules and columns
``foreign_key_actions``  refuses what the database would change by itself
``message_check``        ``EncryptedType(guard=True)``
``stored_size``          the size of stored values
``collisions``           names and keys that tables must not share
=======================  ===============================================================
"""
