"""Branch keys in a table of the application's own database.

===============  =====================================================
``store``        ``SqlKeyStore``
``schema``       the table, declared
``table``        the table, read and changed
``connection``   on connections that are not the application's
``rows``         its rows, which anybody may have written
``row_wrapper``  the wrapped keys in them, made and opened
``store_name``   the key store's logical name, to which they are bound
``branch_keys``  versions of branch keys: read, made, rotated
``beacons``      versions of beacon keys
``removal``      keys are refused, retired, destroyed
``rewrap``       rows move to another keyring
``bring_over``   tables of development versions
``failures``     what a database's failure means
===============  =====================================================
"""
