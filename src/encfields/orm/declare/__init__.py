"""Declaring: encrypted columns, the keys of their rows, their blind indexes.

=======================  ===============================================================
``columns``              an encrypted column: its name, its row's identity, its key
``column_rules``         what a column has to be to be encrypted
``type_options``         the options of ``EncryptedType``
``row_keys``             the kinds of key columns, and their canonical texts
``formerly``             ``Formerly``: how values were kept before
``table_events``         what is done when a table has all its columns
``table_indexes``        the blind indexes of a table
``index_binding``        one version of one of them: its column, and how it is computed
``index_column_type``    the type of that column
``compound_index``       ``CompoundBlindIndex``
``table_constraints``    unique constraints and indexes of a table, put on other columns
``uniqueness``           that, from encrypted columns to those of their blind indexes
``foreign_key_actions``  what the database would change by itself
``message_check``        ``EncryptedType(guard=True)``
``stored_size``          how long stored values are
``collisions``           names and keys that two tables may not share
=======================  ===============================================================
"""
