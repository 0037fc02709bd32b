"""Coverage-guided fuzzing of everything that reads a stored value, with Google's Atheris.

    pip install atheris            (by hand: it is in no requirements file)
    python -m tests.message.atheris_fuzz -max_total_time=300 [libFuzzer's options] [CORPUS]

libFuzzer keeps the inputs that reach new branches of our reader and mutates those further, from
genuine messages of every form. For each input it is a finding, which ends the run and leaves a
``crash-*`` file, if an exception other than ours escapes, if a message opens that nobody sealed,
or if the header reader and ``encfields inspect`` disagree.

The message is tried for the context that it states itself as well: else every altered context
would be refused before the parts behind it are read.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed here: pip install atheris")

with atheris.instrument_imports(include=["encfields"]):
    from encfields.branch_key import BranchKey
    from encfields.cli.commands.inspect import describe
    from encfields.context import deserialize, serialize
    from encfields.errors import EncFieldsError
    from encfields.message import read_header
    from tests.message.fuzz import CONTEXT, Accepted, Corpus, stock_forms

MAX_INPUT_BYTES = 4096


class Target:
    """What each input is given to."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __call__(self, data: bytes) -> None:
        self._corpus.check(data)
        _context(data)
        try:
            header = read_header(data)
        except EncFieldsError:
            _refused_by_inspect(data)
            return
        self._corpus.check(data, header.context)
        _context(header.context)
        try:
            described = describe(data)
        except EncFieldsError:
            return  # a context that is no text
        assert described["keys"][0] == {"key_id": header.key_id, "version": header.version}


def _context(data: bytes) -> None:
    """Serialised contexts that are read are written back as they were, unless out of order."""
    try:
        pairs = deserialize(data)
        written = serialize(pairs)
    except EncFieldsError:
        return
    assert sorted(written) == sorted(data), "a context is written otherwise than it was read"


def _refused_by_inspect(data: bytes) -> None:
    try:
        describe(data)
    except EncFieldsError:
        return
    raise Accepted(f"inspect describes what the reader refuses: {data.hex()}")


def main() -> None:
    key = BranchKey("default", str(uuid.uuid4()), bytes(range(32)))
    corpus = Corpus(key, stock_forms(key))
    target = Target(corpus)
    with tempfile.TemporaryDirectory() as folder:
        for number, message in enumerate([*corpus.messages, CONTEXT]):
            (Path(folder) / f"genuine-{number}").write_bytes(message)
        arguments: list[Any] = [*sys.argv, folder, f"-max_len={MAX_INPUT_BYTES}"]
        atheris.Setup(arguments, target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
