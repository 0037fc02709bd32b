"""What does not open is told by one exception, and nothing is written to stderr beside it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAD = """
import gc, secrets
from encfields.errors import EncFieldsError
from encfields import keyrings
from encfields.keys.keyrings.wrapping import KeyWrapper
KEYS = {"a": "1"}
keyring = keyrings.local(secrets.token_bytes(32))
wrapper = KeyWrapper(keyring)
def wrap(by=keyring, pairs=KEYS):
    return KeyWrapper(by)._try_wrap(secrets.token_bytes(32), pairs)
def refused(function, *arguments):
    try:
        function(*arguments)
    except EncFieldsError as error:
        print(type(error).__name__)
"""

KEY_ROWS = """
other = keyrings.local(secrets.token_bytes(32))
wrapped = wrap()
refused(wrapper.unwrap_bound_to, KEYS, wrap(other), "default")
refused(wrapper.unwrap_bound_to, {"a": "2"}, wrapped, "default")
refused(wrapper.unwrap_bound_to, KEYS, wrapped[:-1], "default")
refused(wrapper.unwrap_bound_to, KEYS, b"", "default")
gc.collect()
"""

LEGACY_VALUES = """
from encfields.legacy import LegacyReader
other = keyrings.local(secrets.token_bytes(32))
reader = LegacyReader(keyring, context=KEYS)
message = wrap()
refused(reader.open, wrap(other), {})
refused(reader.open, wrap(pairs={"a": "2"}), {})
refused(reader.open, message[:-1], {})
refused(reader.open, message + b"x", {})
gc.collect()
"""


PARTS = {"key-rows": KEY_ROWS, "legacy-values": LEGACY_VALUES}
NEXT = "NEXT\n"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """What each part writes to its two streams."""
    between = (
        f"for stream in (sys.stdout, sys.stderr): print(end={NEXT!r}, file=stream, flush=True)"
    )
    code = f"import sys\n{HEAD}" + between.join(PARTS.values())
    # In development mode, older Pythons too report a stream that cannot be closed when collected.
    command = [sys.executable, "-X", "dev", "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, cwd=tmp_path_factory.mktemp("told")
    )
    streams = done.stdout.split(NEXT), done.stderr.split(NEXT)
    return dict(zip(PARTS, zip(*streams, strict=True), strict=True))


@pytest.mark.parametrize("part", PARTS)
def test_what_does_not_open_writes_nothing_to_stderr(
    part: str, told: dict[str, tuple[str, str]]
) -> None:
    out, err = told[part]

    assert len(out.splitlines()) == 4, err
    assert err == ""
