"""The command line: ``encfields``.

============  =======================================
``terminal``  as a terminal starts it
``main``      all of it: parsers, errors, exit status
``commands``  what it can do, a file for each
============  =======================================

What commands share:

====================  ============================================
``settings``          options, environment and file, in that order
``config_file``       ``encfields.toml``
``application``       models and engine of the application
``database``          the database
``key_store``         the key store, and its keyring
``targets``           tables and columns
``changing_columns``  those whose declaration is being changed
``parsing``           how parsers are made
``output``            tables for people, JSON for programs
``layout``            text within the width of a terminal
``error_report``      what happened, and what to do
``exits``             exit statuses
====================  ============================================
"""
