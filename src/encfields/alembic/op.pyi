from collections.abc import Mapping, Sequence

from alembic.op import *  # noqa: F403

from encfields.alembic.descriptions import Indexes
from encfields.alembic.operations.adoptions import DeclaredType
from encfields.alembic.operations.keys import KeyIds, Tables
from encfields.alembic.operations.values import Columns
from encfields.bulk.rows.spec import SealedColumn
from encfields.bulk.rows.types_as_data import InnerType

def create_encryption_keys_table(
    table_name: str = "encfields_keys", *, schema: str | None = None, if_not_exists: bool = False
) -> None: ...
def drop_encryption_keys_table(
    table_name: str = "encfields_keys", *, schema: str | None = None, destroy_keys: bool = False
) -> None: ...
def create_branch_key(key_id: KeyIds = "default") -> None: ...
def rotate_branch_key(key_id: KeyIds = "default") -> None: ...
def reencrypt(
    table_name: str,
    columns: Columns,
    *,
    indexes: Indexes = (),
    schema: str | None = None,
    queue: bool = False,
) -> None: ...
def rebind(
    table_name: str,
    columns: Columns,
    *,
    was: Columns,
    indexes: Indexes = (),
    schema: str | None = None,
    queue: bool = False,
) -> None: ...
def convert_encrypted(
    table_name: str,
    column: str | SealedColumn,
    *,
    was: InnerType,
    to: InnerType,
    was_bound: str | SealedColumn | None = None,
    indexes: Indexes = (),
    schema: str | None = None,
    queue: bool = False,
) -> None: ...
def decrypt_column(
    table_name: str, columns: Columns, *, into: Mapping[str, str], schema: str | None = None
) -> None: ...
def ensure_encrypted(table_name: str, columns: Columns, *, schema: str | None = None) -> None: ...
def fill_blind_index(
    table_name: str,
    indexes: Indexes,
    *,
    columns: Columns = (),
    reindex: bool = False,
    schema: str | None = None,
    queue: bool = False,
    anew: bool = False,
) -> None: ...
def ensure_blind_index(table_name: str, indexes: Indexes, *, schema: str | None = None) -> None: ...
def rotate_beacon_key(key_id: str = "default", version: int | None = None) -> None: ...
def retire_branch_key(key_id: str, tables: Tables, *, at_once: bool = False) -> None: ...
def retire_beacon_key(
    key_id: str, version: int, *, except_columns: tuple[str, ...] = ()
) -> None: ...
def create_message_check(
    table_name: str, column_name: str, *, name: str | None = None, schema: str | None = None
) -> None: ...
def drop_message_check(
    table_name: str, column_name: str, *, name: str | None = None, schema: str | None = None
) -> None: ...
def begin_adoption(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
    guard: bool = False,
) -> None: ...
def adopt(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
    queue: bool = False,
) -> None: ...
def ensure_adopted(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
def close_plaintext(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
def end_adoption(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
def reopen_plaintext(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
def refill_plaintext(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
def withdraw_adoption(
    table_name: str,
    plain: str | Sequence[str],
    *,
    into: str | SealedColumn | None = None,
    type_: DeclaredType | None = None,
    plain_type: DeclaredType | None = None,
    indexes: Indexes = (),
    unique: Sequence[str] = (),
    schema: str | None = None,
) -> None: ...
