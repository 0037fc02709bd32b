"""How an encrypted value learns its row on its way through SQLAlchemy.

=====================  =====================================================================
``declare``            encrypted columns, the keys of their rows, their blind indexes
``types``              ``EncryptedType``, which parks what is written and opens what is read
``write``              each parked value becomes a message for its row
``read``               ciphertext comes with its row's key, and is opened
``query``              look-ups by blind index, and what ciphertext cannot answer
``adoption``           one attribute over a plaintext column and an encrypted one
``flush``              what a session knows of the rows that it is about to update
``sealed``             ``Sealed``, a lazy column's value
``listeners``          the listeners of one engine, one for each event
``engine_encryption``  which encryption serves an engine, and its keys
``internals``          SQLAlchemy's private names, all of them
``kept_state``         what is kept on SQLAlchemy's objects, all of it
=====================  =====================================================================
"""
