"""Branch keys in a table of the application's own database.

===================  =====================================================
``store``            ``SqlKeyStore``
``schema``           the table's declaration
``table``            reads and changes the table
``connection``       connections apart from the application's
``kept_connection``  the one that stays open on MariaDB and MySQL
``altered_bytes``    refuses a driver's sessions that alter bytes
``event_loops``      refuses connections that belong to another event loop
``rows``             its rows, validated: anybody may have written them
``row_wrapper``      wraps and unwraps the keys in them
``store_name``       the key store's logical name, to which keys are bound
``branch_keys``      reads, creates and rotates branch keys
``beacons``          versions of beacon keys
``removal``          refuses, retires and destroys keys
``gone``             what this process has seen destroyed
``rewrap``           moves rows to another keyring
``bring_over``       imports tables of development versions
``failures``         translates database errors
===================  =====================================================
"""
