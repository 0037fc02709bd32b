"""What the codes of databases' errors mean: PostgreSQL's SQLSTATEs, MariaDB's and MySQL's numbers.

Drivers' classes do not tell: PyMySQL has one for nearly every number, pg8000 for nearly every
SQLSTATE. So what may pass is listed, and nothing else is waited for.
"""

from __future__ import annotations

from typing import Any

from encfields.keys.sql.failures import error_number, sql_state

Code = int | str

REFUSALS: frozenset[Code] = frozenset(
    {1118, 1264, 1265, 1292, 1366, 1406, 1526, 1644, 1690, 1713}
    | {3140, 3751, 3752, 3819, 3903, 3904, 4025}
    | {"54000", "P0001"}
)
"""Of a value, CHECK, trigger, partition, or of a row that its page or index has no room for, which
drivers do not give a class of its own."""

REFUSAL_STATES = ("22", "23")
OUTAGE_STATES = ("08", "25", "40", "53", "54", "55", "57", "58", "XX")
"""SQLSTATE prefixes of refused values and of server trouble."""

_LASTING_STATES = frozenset(
    {"25001", "25P01", "53400", "54011", "54023", "55000", "55P02", "55P04"}
    | {"57P04", "58P01", "58P02", "XX001", "XX002"}
)
"""Those of server trouble that do not pass: limits, a table that replication lets nobody change, a
dropped database, missing files, damaged pages."""

MISSING: frozenset[Code] = frozenset({1054, 1146, "42P01", "42703"})
"""Of a missing table or column."""

MISSING_SCHEMA = 1049
"""What MySQL says of a table whose schema is missing: MariaDB says that the table is."""

THERE_ALREADY: frozenset[Code] = frozenset({1050, 1060, 1061, "42P07", "42701"})
"""Of a table, column or index that is to be made and is there."""

LOCK_WAITS: frozenset[Code] = frozenset({1205, 3572, "55P03"})

_SERVERS_NUMBERS = (range(1000, 2000), range(3000, 5500))
CLIENTS_NUMBERS = range(2000, 3000)
"""Of client libraries. Others are of storage engines and of proxies in between."""

_PASSING = frozenset(
    # connections, threads and memory; a node of a cluster that is not ready; shutting down
    {1037, 1040, 1041, 1047, 1053, 1077, 1078, 1079, 1080, 1129, 1135, 1203, 1226, 1290, 1792, 1836}
    # the network and the client; packets and logs that a smaller batch fits into
    | {1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1189, 1190, 1197, 1705}
    # disks and storage engines
    | {1021, 1023, 1024, 1026, 1028, 1030, 1105, 1114, 1180, 1181, 1296, 1297, 1815}
    # locks, other transactions, changes of tables, statements that somebody ended
    | {1020, 1099, 1100, 1192, 1205, 1206, 1213, 1223, 1317, 1412, 1613, 1614, 1615, 1637, 1689}
    | {1927, 1969, 3024, 3058, 3098, 3100, 3101, 3132, 3133, 3168, 3169, 3572, 4031}
)


def code_of(original: Any) -> Code | None:
    """The server's code in a driver's error."""
    # MariaDB's number says more than its SQLSTATE, which is "general error" for a full disk.
    return error_number(original) or sql_state(original)


def may_pass(code: Code | None) -> bool | None:
    """Whether waiting can help; ``None`` if a code does not tell."""
    if isinstance(code, str):
        return code.startswith(OUTAGE_STATES) and code not in _LASTING_STATES
    if code is None or not any(code in numbers for numbers in _SERVERS_NUMBERS):
        return None
    return code in _PASSING


_ENDED = (
    "ended the statement. Raise it for this database user, or read and write fewer rows at once"
)
_POOLED = (
    "a connection pooler gives each transaction another connection, where statements prepared "
    'earlier do not exist. With psycopg, connect_args={"prepare_threshold": None}'
)

_ADVICE: dict[Code, str] = {
    "57014": f"statement_timeout, or somebody's pg_cancel_backend(), {_ENDED}",
    "25P03": "idle_in_transaction_session_timeout ended the connection. Raise it for this database "
    "user",
    "25P04": f"transaction_timeout {_ENDED}",
    "53400": "temp_file_limit is too low for this database user",
    "55000": (
        "the object is not in a state that allows this; a published table without a REPLICA "
        "IDENTITY, for instance, cannot be updated"
    ),
    "26000": _POOLED,
    "42P05": _POOLED,
    1104: (
        "max_join_size is too low: raise it, or lift it for this engine alone with "
        'connect_args={"init_command": "SET sql_big_selects = 1"}'
    ),
    1153: "max_allowed_packet is too small for one value, or for so many at once",
    1226: "this database user has reached a limit, such as its statements or connections per hour",
    1317: "an administrator or a time limit ended the statement",
    1419: (
        "triggers are written to the binary log, and this database user may not make them: an "
        "administrator sets log_bin_trust_function_creators = 1 (on RDS in the parameter group), "
        "or makes them as a user with SUPER"
    ),
    1969: f"max_statement_time {_ENDED}",
    3024: f"max_execution_time {_ENDED}",
}


def advice_on(code: Code | None) -> str | None:
    """Which setting is behind an error, and what to do about it."""
    return None if code is None else _ADVICE.get(code)
