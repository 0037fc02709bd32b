"""The operations as data: arguments, inverse, and form in a diff.

========================  ====================================================================
``base``                  their base class
``values``                ``reencrypt``, ``rebind``, ``convert_encrypted``, ``decrypt_column``
``indexes``               ``fill_blind_index``, ``ensure_blind_index``
``keys``                  the key table, branch keys and beacon keys
``adoptions``             the steps of an adoption
``refused_or_postponed``  what autogenerate writes instead of them
========================  ====================================================================
"""
