"""Text keys that MySQL and MariaDB hold in another character set than UTF-8.

In some of them two keys, which the server tells apart, have one text in Unicode: bytes that stand
for no character all become question marks, and a few characters are there twice. A key that might
be one of those identifies no row.
"""

from __future__ import annotations

_EXACT = frozenset(
    b"latin1 latin2 latin5 latin7 koi8r koi8u cp850 cp852 cp866 keybcs2 macce macroman "
    b"ucs2 utf16 utf16le utf32".split()
)
"""Each key has a text of its own."""

_LOSSY = frozenset(
    b"ascii big5 cp1250 cp1251 cp1256 cp1257 dec8 euckr gb18030 gb2312 gbk geostd8 greek hebrew "
    b"hp8 sjis swe7 tis620 ujis".split()
)
"""Each key has, unless there is one of these characters in it, of which some may stand for others:
"""

_SHARED = frozenset("?\ufffd")

_REPEATED = frozenset((b"cp932", b"eucjpms"))
"""Many characters are there twice: only a key of ASCII has a text of its own."""

_TWO_BACKSLASHES = frozenset((b"sjis", b"ujis"))


def text_in_charset(part: bytes) -> str:
    """The text of a key.

    :param part: the key in UTF-8, its character set and its bytes there, between exclamation
        marks; bytes in hexadecimal.
    :raises ValueError: another key may have the same text.
    """
    utf8, charset, stored = part.split(b"!")
    text = bytes.fromhex(utf8.decode("ascii")).decode("utf-8")
    if _is_its_own(text, charset, is_same=utf8 == stored):
        return text
    raise ValueError("another key may have this text")


def _is_its_own(text: str, charset: bytes, *, is_same: bool) -> bool:
    """Whether no other key has this text.

    :param is_same: whether the key's bytes are those of UTF-8.
    """
    if charset in _TWO_BACKSLASHES and "\\" in text:
        return False
    if charset in _LOSSY:
        return is_same or not _SHARED.intersection(text)
    return charset in _EXACT or (is_same and charset in _REPEATED)
