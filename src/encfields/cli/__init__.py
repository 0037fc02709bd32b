"""The command line: ``encfields``.

============  =======================================
``terminal``  entry point that handles Ctrl-C
``main``      parsers, errors, exit status
``commands``  the commands, one file each
============  =======================================

What commands share:

====================  ============================================
``settings``          from options, environment and file, in that order
``config_file``       ``encfields.toml``
``application``       imports the application's models and engine
``database``          the database
``key_store``         the key store, and its keyring
``targets``           tables and columns
``changing_columns``  columns with formerly=
``adopting_columns``  columns with adopts=
``parsing``           builds the parsers
``output``            tables for people, JSON for programs
``layout``            fits text into a terminal
``error_report``      prints errors: what happened, and what to do
``exits``             exit statuses
``interrupts``        Ctrl-C and SIGTERM, whatever becomes of their exceptions
====================  ============================================
"""
