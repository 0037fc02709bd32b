"""The compiled core of encfields. Applications have no use for it: encfields finds it."""

from collections.abc import Callable, Sequence
from typing import Any, final

__version__: str

_FindKey = Callable[[str, str], Any]

def seal(plaintext: object, context: object, key: Any, /) -> bytes | None: ...
def open_(message: object, context: object, key_id: str, find_key: _FindKey, /) -> bytes | None: ...
def open_kept(
    message: object, context: object, key_id: str, find_key: _FindKey, /
) -> bytes | None: ...
def seal_many(
    plaintexts: list[bytes], contexts: list[bytes], key: Any, /
) -> list[bytes | None]: ...
def open_many(
    messages: list[bytes], contexts: list[bytes], key_id: str, find_key: _FindKey, /
) -> list[bytes | None]: ...
def reseal_many(
    messages: list[bytes],
    contexts: list[bytes],
    new_contexts: list[bytes],
    key: Any,
    find_key: _FindKey,
    /,
) -> list[bytes | None]: ...
def open_rows(
    rows: list[Any],
    columns: Sequence[tuple[int, CellReader, Callable[[bytes], object] | None]],
    find_key: _FindKey,
    /,
) -> tuple[list[Any], int]: ...
def index_code(key: object, normalised: object, /) -> bytes | None: ...

@final
class Cipher:
    def __new__(cls, key: bytes) -> Cipher: ...
    def encrypt(self, iv: object, data: object, associated_data: None, /) -> bytes | None: ...
    def decrypt(self, iv: object, data: object, associated_data: None, /) -> bytes | None: ...

@final
class OpenedCell:
    def __new__(cls, value: object, cell: object) -> OpenedCell: ...
    @property
    def value(self) -> Any: ...
    @property
    def cell(self) -> Any: ...

@final
class CellReader:
    def __new__(
        cls,
        tag: bytes,
        head: bytes,
        parts: Sequence[tuple[int, bytes]],
        forms: Sequence[str],
        key: Sequence[str | int],
    ) -> CellReader: ...
    def open(self, cell: object, find_key: _FindKey, /) -> bytes | None: ...

@final
class CompiledKey:
    @property
    def kept(self) -> int: ...
    @property
    def reopened(self) -> int: ...
