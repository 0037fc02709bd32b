"""A column's definition as MySQL and MariaDB write it, with NOT NULL or without."""

from __future__ import annotations

import re

_ASIDE = re.compile(r"'(?:[^'\\]|''|\\.)*'|`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"", re.DOTALL)
_REST = re.compile(r" (?:COMMENT|CHECK|DEFAULT|ON UPDATE)\b")


def nullable(line: str) -> str:
    """The definition of a column that may be NULL."""
    return _changed(line, r" NOT NULL", " NULL")


def required(line: str) -> str:
    """The definition of one that must not be; MariaDB writes DEFAULT NULL, which such has not."""
    if re.search(r" NOT NULL", _masked(line)):
        return line
    line = _changed(_changed(line, r" DEFAULT NULL", ""), r"(?<! DEFAULT) NULL", "")
    rest = _REST.search(_masked(line))
    end = rest.start() if rest else len(line)
    return f"{line[:end]} NOT NULL{line[end:]}"


def _changed(line: str, pattern: str, instead: str) -> str:
    found = re.search(pattern, _masked(line))
    return line if found is None else line[: found.start()] + instead + line[found.end() :]


def _masked(line: str) -> str:
    """The definition with what stands in quotes and parentheses made unrecognisable."""
    masked = _ASIDE.sub(lambda found: "x" * len(found[0]), line)
    out, depth = [], 0
    for one in masked:
        depth -= one == ")"
        out.append(one if depth <= 0 else "x")
        depth += one == "("
    return "".join(out)
