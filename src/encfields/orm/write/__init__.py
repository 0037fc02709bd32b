"""Writing: what an INSERT or UPDATE needs to seal a value for its row.

Before the statement is compiled, it is completed:

================================  =================================================================
``execution``                     the statement and its parameters, to be completed
``indexes_along``                 index columns are set where an encrypted one is
``row_update``, ``current_rows``  an UPDATE by primary key reads what its rows hold
``update_rewording``              ``key.in_([value])`` is ``key == value``; ``coalesce(:new, ssn)``
``upsert_choices``                ``coalesce(excluded.ssn, table.ssn)`` and CASE
``upsert_set_values``             ``set_={"ssn": "..."}``
``application_bindparams``        a ``bindparam()`` that the application named
``hidden_values``                 values leave statements that are kept
``default_context``               what a Python-side default sees of its row
``generated_keys``                keys that the database will generate
================================  =================================================================

As it is compiled, it is planned, once:

=====================  ==========================================
``statement_planner``  what is done with the statement
``row_planner``        where each row's values and keys come from
``upsert``             which row an upsert hits
``ciphertext_copies``  what a copy inside the database may hold
``statement_plan``     the plan
=====================  ==========================================

As it is executed, the plan is followed:

==============================  =========================================
``hook``                        the listener that does so
``pending``                     a parked value
``sealing``                     from parked values to messages
``index_values``                from parked values to blind indexes
``key_spelling``                how the database spells a text key
``triggered_tables``            which triggers may move a row
``read_back``, ``rows_by_key``  the keys under which the rows were stored
``redaction``                   SQLAlchemy's errors show no values
==============================  =========================================
"""
