"""Python values and their canonical plaintexts, the content of stored messages.

Any language can read these plaintexts. This table is **frozen**: every plaintext that was ever
written stays readable, and no value is ever written in another form.

=========================== =====================================================================
type                        plaintext
=========================== =====================================================================
String, Text, Unicode       the string in UTF-8, as given
LargeBinary                 the bytes, as given
Integer, BigInteger,        decimal digits, ``-`` in front where negative: ``-42``. From -2**63 to
SmallInteger                2**64 - 1
Float, Double               shortest decimal text that reads back as the same double, with a point
                            or an exponent: ``1.0``, ``0.1``, ``1e+16``, ``-0.0``; or ``NaN``,
                            ``Infinity``, ``-Infinity``
Numeric                     decimal digits with a point and no exponent: ``-1.50``, ``0.00``.
                            Rounded half away from zero to the column's scale, and padded to it
Boolean                     ``true`` or ``false``
Date                        ISO 8601: ``2024-02-29``
Time                        ISO 8601: ``13:05:00``, ``13:05:00.000006``, ``13:05:00+02:00``
DateTime                    ISO 8601: ``2024-02-29T13:05:00``, ``2024-02-29T13:05:00.000006``,
                            ``2024-02-29T13:05:00+00:00``. The fraction has six digits or is left
                            out where it is zero; an offset is there exactly if the value was
                            aware, as ``±HH:MM`` (or ``±HH:MM:SS[.ffffff]`` for one of that kind)
Interval                    ISO 8601 duration in seconds alone: ``PT93784S``, ``PT0.000001S``,
                            ``-PT86400S``; a fraction has six digits
Uuid                        ``123e4567-e89b-12d3-a456-426614174000``: lower case, hyphens
Enum                        what SQLAlchemy stores, in UTF-8: the member's name, what
                            ``values_callable`` gives for it, or the string itself
JSON                        RFC 8259 in UTF-8, no white space, keys in the order given, no NaN;
                            ``None`` and ``JSON.NULL`` are ``null``. An engine's own
                            ``json_serializer`` writes its own text
ARRAY                       a JSON array as above, nested for each further dimension, of ``null``
                            and of the items' plaintexts: a JSON value where the plaintext is one
                            (Integer, Float, Boolean, JSON), a string of lower-case hexadecimal
                            digits for bytes, else a string: ``[1,null]``, ``["2024-02-29"]``
TypeDecorator               that of the type it decorates, of what ``process_bind_param`` returns
=========================== =====================================================================

NULL has no plaintext: it stays NULL. A length that String or LargeBinary declares, and a
precision that Numeric declares, are enforced here, since the database sees only ciphertext. A naive
or aware DateTime is returned as it was given, whatever ``timezone`` says. PickleType, and every
type not listed above, is refused when the column is declared.

Where they are:

=====================================  ==============================================
``base``                               the protocol of codecs, and their errors
``inner_types``                        the supported types, and the codec of each
``text``, ``numbers``, ``temporal``    most of the types above
``enums``, ``json_value``, ``arrays``  the others
``decorated``                          an application's ``TypeDecorator``
``conversion``                         converts plaintexts of one type to another
=====================================  ==============================================
"""

from __future__ import annotations

from encfields.codecs.base import Codec
from encfields.codecs.inner_types import codec_for, max_plaintext_bytes

__all__ = ["Codec", "codec_for", "max_plaintext_bytes"]
