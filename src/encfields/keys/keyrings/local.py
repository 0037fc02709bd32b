"""A wrapping key held by the application, and its file: mode 0600; raw, hexadecimal or base64."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from os import PathLike
from typing import Any, NoReturn

from encfields.arguments import kind
from encfields.errors import ConfigurationError
from encfields.keys.keyrings.keyring import Keyring, models, providers
from encfields.traces import leaves_no_trace

LOCAL_KEY_BYTES = 32
"""Length of an AES-256 wrapping key."""


LOCAL_NAMESPACE = "encfields"
"""Key namespace of the raw AES keyring. Part of every locally wrapped key; must never change."""


class LocalKeyring(Keyring):
    """One AES-256 wrapping key held by the application. Its ``repr`` shows only a fingerprint."""

    __slots__ = ("_key", "name")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.name = fingerprint(key)

    def __repr__(self) -> str:
        return f"<LocalKeyring {self.name}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a local keyring holds a wrapping key and is never pickled")

    def build(self) -> Any:
        return providers().create_raw_aes_keyring(
            models().CreateRawAesKeyringInput(
                key_namespace=LOCAL_NAMESPACE,
                key_name=self.name,
                wrapping_key=self._key,
                wrapping_alg=models().AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16,
            )
        )


@leaves_no_trace
def local(key: bytes | str | PathLike[str]) -> LocalKeyring:
    """A wrapping key held by the application, for development and tests.

    Anybody who has the key and the database can read everything; in production use :func:`aws_kms`.

    :param key: 32 secret bytes, or the path of a file that holds them raw, in hexadecimal or in
        base64. :func:`generate_local_key` writes such a file.
    :raises ConfigurationError: it is not 32 bytes, or the file cannot be read.
    """
    return LocalKeyring(read_local_key(key))


def generate_local_key(path: str | PathLike[str]) -> None:
    """Write a new random wrapping key to a new file, in base64, readable only by its owner.

    :param path: file to create, mode 0600.
    :raises ConfigurationError: the file exists (overwriting a wrapping key would make every key it
        wraps unreadable), or cannot be written.
    """
    if not isinstance(path, str | PathLike):
        raise ConfigurationError(
            f"generate_local_key() takes a path, not {kind(path)}", reason="local-key"
        )
    text = base64.b64encode(secrets.token_bytes(LOCAL_KEY_BYTES)) + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{os.fspath(path)!r} exists already, and a wrapping key is never overwritten; "
            f"keyrings.local({os.fspath(path)!r}) uses the one that is there",
            reason="local-key-exists",
        ) from None
    except OSError as error:
        raise _unusable(path, error.strerror or type(error).__name__) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@leaves_no_trace
def read_local_key(key: bytes | str | PathLike[str]) -> bytes:
    """The 32 bytes of a wrapping key given as themselves or as a file's path.

    :raises ConfigurationError: it is not 32 bytes, or the file cannot be read.
    """
    if isinstance(key, (bytes, bytearray)):
        if len(key) != LOCAL_KEY_BYTES:
            raise ConfigurationError(
                f"a local wrapping key has {LOCAL_KEY_BYTES} bytes, not {len(key)}",
                reason="local-key",
            )
        return bytes(key)
    if not isinstance(key, str | PathLike):  # open() would take a number for a file descriptor
        raise ConfigurationError(
            "a local wrapping key is 32 bytes, or the path of the file that holds them, not a "
            f"{type(key).__name__}",
            reason="local-key",
        )
    if _is_key(key) and not os.path.exists(key):
        raise ConfigurationError(
            "a local wrapping key is 32 bytes, or the path of the file that holds them; what was "
            "given is no file but looks like a key's text, and is not shown: decode it, with "
            "bytes.fromhex() or base64.b64decode()",
            reason="local-key",
        )
    try:
        with open(key, "rb") as file:
            content = file.read(1024)
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise _unusable(key, getattr(error, "strerror", None) or type(error).__name__) from None
    decoded = _decode(content)
    if decoded is None:
        raise _unusable(key, "it holds neither 32 random bytes nor their hexadecimal or base64")
    return decoded


def _decode(content: bytes) -> bytes | None:
    text = content.strip()
    if len(content) == LOCAL_KEY_BYTES:
        # 32 printable characters are a passphrase or half a key in hexadecimal; 32 random bytes
        # look like that once in 10^14.
        return None if content.isascii() and content.decode().isprintable() else content
    for decode in (binascii.unhexlify, _unbase64):
        try:
            key = decode(text)
        except ValueError:
            continue
        if len(key) == LOCAL_KEY_BYTES:
            return key
    return None


def _is_key(path: str | PathLike[str]) -> bool:
    """Whether somebody gave a key's text where a path belongs, so that no error may show it."""
    try:
        text = os.fsencode(path).strip()
    except UnicodeEncodeError:
        return False
    try:
        # A part of a key is not shown either.
        return len(binascii.unhexlify(text)) >= LOCAL_KEY_BYTES // 2
    except ValueError:
        return _decode(text) is not None


def _unbase64(text: bytes) -> bytes:
    return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")), validate=True)


def fingerprint(key: bytes) -> str:
    """A public name for a secret key: it distinguishes two keys and reveals nothing of either."""
    return "local-" + hmac.digest(key, b"encfields local wrapping key name", "sha256")[:8].hex()


def _unusable(path: str | PathLike[str], why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the local wrapping key file {os.fspath(path)!r} cannot be used: {why}",
        reason="local-key",
    )
