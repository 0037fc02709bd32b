"""Names of all state that this library keeps on SQLAlchemy's objects.

On the objects themselves, so that it has their lifetime:

==================  =====================================  =====================================
name                is on                                  holds
==================  =====================================  =====================================
ATTACHMENT          ``vars(dialect)``                      which encryption serves the engine
OWN_STATEMENTS      ``vars(dialect)``                      what connections of our own compiled
KEPT_CONNECTION     ``vars(dialect)``                      the one of our own that stays open
BINDINGS            ``vars(table)``                        its encrypted columns
INDEXES             ``vars(table)``                        its blind indexes
COMPOUND_INDEXES    ``vars(table)``, ``column.info``       its compound indexes, as declared
LOGICAL_NAMES       ``metadata.info``                      which columns have which logical name
DECLARED_KEYS       ``metadata.info``                      which columns declare which key
REQUIRED            ``column.info``                        a plaintext column's ``NOT NULL``
IN_BINARY           ``connection.info``                    what psycopg answers in binary form
RENAMED             ``vars(compiler)``                     binds under further names, as compiled
EXECUTED            ``vars(connection)``                   the statement it executes, weakly
PLAN                ``vars(context)``                      what an execution's statement needs
==================  =====================================  =====================================

In weak maps, for what lives as long as a compiled statement, a mapper or a connection:
``flush._known`` and ``flush._loaded`` by mapper and state, ``declare.table_events._in_the_making``,
``declare.table_events._awaiting_types`` and ``declare.index_binding._reflected`` by table, and
those of one engine's listeners, which are attributes of theirs (``write.hook``,
``write.read_back``, ``write.triggered_tables``, ``write.generated_keys``).

``internals.statement_cache._cache_keys`` holds the cache keys of types for SQLAlchemy's statement
cache, as long as a type or a cached statement lives; they contain only declarations.
"""

from __future__ import annotations

ATTACHMENT = "_encfields_attachment"
OWN_STATEMENTS = "_encfields_own_statements"
KEPT_CONNECTION = "_encfields_kept_connection"
BINDINGS = "_encfields_bindings"
INDEXES = "_encfields_indexes"
COMPOUND_INDEXES = "encfields_compound_index"
LOGICAL_NAMES = "encfields_logical_names"
DECLARED_KEYS = "encfields_keys"
REQUIRED = "encfields_required"
IN_BINARY = "_encfields_in_binary"
RENAMED = "_encfields_renamed"
EXECUTED = "_encfields_executed"
PLAN = "_encfields_plan"
