"""Reading: ciphertext delivered with the key of its row, and opened.

======================  ========================================================
``provenance``          which row and key columns an expression is of
``packed``              the cell of ciphertext and key, in SQL
``row_reader``          what opens it
``delivered_keys``      row keys in cells, brought into canonical form
``union_reads``         cells that come out of a UNION
``results``             a result's encrypted columns, opened as its rows are fetched
``binary_results``      cells in binary form from psycopg
``async_prefetch``      keys for the rows of an ``AsyncConnection``
``lazy``                cells that stay closed
``other_column_types``  columns of the database that hold no messages
======================  ========================================================
"""
