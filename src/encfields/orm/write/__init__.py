"""Writes: sealing the values of an INSERT or UPDATE for their rows.

Before compilation, the statement is completed:

================================  =================================================================
``execution``                     a statement and its parameters
``indexes_along``                 sets index columns wherever an encrypted one is set
``row_update``, ``current_rows``  an UPDATE by primary key, and its rows' present values
``update_by_unique_key``          an UPDATE that names its row by another unique key
``rows_of_defaults``              ``insert(table).values([{}, {}])``
``update_rewording``              ``key.in_([value])`` is ``key == value``; ``coalesce(:new, ssn)``
``upsert_choices``                ``coalesce(excluded.ssn, table.ssn)`` and CASE
``upsert_targets``                what an upsert finds its row by
``upsert_set_values``             ``set_={"ssn": "..."}``
``application_bindparams``        a ``bindparam()`` that the application named
``hidden_values``                 removes values from cached statements
``default_context``               the row as a Python-side default sees it
``generated_keys``                keys that the database will generate
================================  =================================================================

When it is compiled, it is planned once:

=====================  ==========================================
``statement_planner``  plans the statement
``row_planner``        plans where each row's values and keys come from
``upsert``             checks which row an upsert hits
``ciphertext_copies``  checks copies inside the database
``statement_plan``     the plan
=====================  ==========================================

When it is executed, it follows the plan:

==============================  =========================================
``hook``                        the listener
``pending``                     a parked value
``sealing``                     turns parked values into messages
``index_values``                turns parked values into blind indexes
``key_spelling``                the database's spelling of a text key
``triggered_tables``            tables whose triggers may move a row
``read_back``, ``rows_by_key``  checks the keys of stored rows
``stored_messages``             finds messages by their rows' keys
``redaction``                   removes values from SQLAlchemy's errors
==============================  =========================================
"""
