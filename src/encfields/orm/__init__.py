"""Encrypted columns in SQLAlchemy: how a value is bound to its row.

=====================  =====================================================================
``declare``            encrypted columns, the keys of their rows, their blind indexes
``types``              ``EncryptedType``, which parks values written and opens values read
``write``              seals each parked value for its row
``read``               opens ciphertext, which is selected with its row's key
``query``              look-ups by blind index, and what ciphertext cannot answer
``adoption``           one attribute over a plaintext column and an encrypted one
``flush``              what a session knows of the rows it will update
``sealed``             ``Sealed``, a lazy column's value
``listeners``          the listeners of one engine, one for each event
``engine_encryption``  which encryption serves an engine, and its keys
``internals``          SQLAlchemy's private names, all of them
=====================  =====================================================================
"""
