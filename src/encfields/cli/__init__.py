"""The ``encfields`` command: one file for each of its subcommands."""
