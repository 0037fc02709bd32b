"""Reading: ciphertext is selected with its row's key, and opened.

======================  ========================================================
``provenance``          which row and key columns an expression comes from
``beside``              what a subquery, or a UNION, has of a row beside its value
``packed``              the cell of ciphertext and key, in SQL
``row_reader``          the type that opens it
``delivered_keys``      row keys in cells, converted to canonical form
``raw_rows``            cells made of the rows of raw SQL
``raw_reader``          the type that opens those
``driver_keys``         row keys from a driver, put into the form of a cell
``union_reads``         cells that come from a UNION
``compound_reads``      the columns of a UNION that is executed itself
``results``             a result's encrypted columns, opened as its rows are fetched
``binary_results``      cells in binary form from psycopg
``async_prefetch``      keys for the rows of an ``AsyncConnection``
``lazy``                cells that are opened only on request
``other_column_types``  database columns of types that cannot hold messages
======================  ========================================================
"""
