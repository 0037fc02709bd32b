"""The operations as data: what a migration asks for, its inverse, its form in a diff.

========================  ====================================================================
``base``                  what all of them have in common
``values``                ``reencrypt``, ``rebind``, ``convert_encrypted``, ``decrypt_column``
``indexes``               ``fill_blind_index``, ``ensure_blind_index``
``keys``                  the key table, branch keys and beacon keys
``adoptions``             the steps of an adoption
``refused_or_postponed``  what autogenerate writes in their place
========================  ====================================================================
"""
