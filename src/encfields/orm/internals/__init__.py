"""SQLAlchemy's private names, which only the files of this folder use.

Each file lists the names that it reads, writes and overrides, with the class of each. If one
disappeared, ``tests/house/test_sqlalchemy_privates.py`` would fail. Statements would fail too, with
``AttributeError`` or with an unsealed value, which is refused; none would send plaintext.

They are written only on copies of statements, on our own columns and connections, and on the result
of an INSERT that we gave its keys, never on the application's objects. They are overridden only in
our own classes, which call what they override.

The rest of the package imports from here only, mostly as ``internals.name``: searching for that
word finds all code that depends on those names.
"""
# mypy: implicit-reexport
# ruff: noqa: F401

from __future__ import annotations

from encfields.orm.internals.compiled import (
    MULTI_VALUES_SUFFIX,
    Assigned,
    BoundValue,
    Expression,
    LabelsOfCells,
    assignments,
    bind_name,
    bound_values,
    compiled_statement,
    default_values,
    dml_statement,
    driver_name,
    has_defaults_of,
    has_written,
    is_dml,
    name_of_copy,
    note_joined,
    note_key,
    parameter_rows,
    positional_names,
    rendered_bind_names,
    result_position,
    result_processors,
    row_of_default,
    shares_statement,
    types_by_bind_name,
    updated_by_default,
    updated_keys,
    values_count,
)
from encfields.orm.internals.execution import (
    UNTRANSLATED,
    connect_parameters,
    driver_cursor,
    in_sqlite_transaction,
    is_autocommit,
    plain_engine,
    roll_back_innermost,
    rows_at_hand,
    without_listeners,
)
from encfields.orm.internals.inserts import (
    are_plain_rows,
    conflict_elements,
    has_prefixes,
    has_select_source,
    insert_values_by_key,
    is_joined_part_of_insert,
    is_part_of_insert,
    may_skip_rows,
    multi_value_rows,
    one_statement_per_conflict_clause,
    post_values_clause,
    row_by_key,
    select_source_names,
    sibling_in,
    stated_keys,
    upsert_conditions,
    upsert_values,
    with_all_conflict_clauses,
    with_changed_upsert_values,
    with_conflict_elements,
    with_insert_values,
    with_keys_among_defaults,
    with_multi_value_rows,
    with_returned_keys,
    with_select_name,
    with_select_rewritten,
    with_select_source,
    with_upsert_values,
    with_upsert_where,
    without_reported_keys,
    without_select_defaults,
    would_return_keys,
)
from encfields.orm.internals.reported_keys import (
    end_defaults,
    report_keys,
    report_no_keys,
)
from encfields.orm.internals.schema import (
    ANY_BINARY,
    ANY_INTERVAL,
    NegatableComparison,
    SchemaPart,
    UnmappedColumn,
    WrappedColumn,
    autoincrement_column,
    check_of_type,
    column_copy,
    compare_alike,
    discard_rule,
    exclusion_expressions,
    holds_bytes,
    is_carried,
    is_column_flag,
    is_exclusion,
    json_deserializer,
    json_serializer,
    leave_schema,
    variant_of,
)
from encfields.orm.internals.selects import (
    annotated_like,
    array_items,
    column_of_name,
    distinct_on_clauses,
    entity_of,
    group_by_clauses,
    has_row_limit,
    having_criteria,
    is_bare_select,
    is_distinct,
    is_label_reference,
    is_plain_union,
    join_conditions,
    order_by_clauses,
    prefixes_and_suffixes,
    raw_froms,
    select_parts,
    stands_for_its_parts,
    statement_hints,
    top_level_from,
    with_group_by,
    with_order_by,
    without_distinct,
)
from encfields.orm.internals.statement_cache import (
    CacheKey,
    CacheKeyedType,
    cache_key_by_arguments,
    cache_key_of,
    clones_of,
    copy_of_bind,
    retyped_bind,
    same_value_bind,
)
from encfields.orm.internals.statements import (
    clauses_rewritten,
    criteria_alone,
    exists_rewritten,
    insert_or_update_in,
    loader_criteria,
    returned_elements,
    subquery_rewritten,
    takes_all_from_parameters,
    where_criteria,
    with_criteria_rewritten,
    with_insert_or_update,
    with_joins_rewritten,
    with_loader_criteria_rewritten,
    with_sides,
    written_table,
)
from encfields.orm.internals.updates import (
    has_loaded_change,
    is_expression,
    old_value_bind,
    stale_data,
    update_values,
    update_values_by_key,
    with_changed_values,
    with_replaced_values,
    with_update_values,
)
