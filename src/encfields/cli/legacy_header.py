"""What a message of the AWS Encryption SDK that is not in our format says of itself."""

from __future__ import annotations

import io
from typing import Any

from encfields.errors import MalformedMessageError
from encfields.legacy import MAX_KEYS, is_legacy


def describe_legacy(data: bytes, error: MalformedMessageError) -> dict[str, Any] | None:
    """The same, as plain data; ``legacy`` says why it is not ours.

    AWS's own parser reads it: the other suites and format version 1 are no business of our
    reader's. That parser is no public interface of its library, so whatever it raises only means
    that there is less to tell.

    :param error: why our reader refused it.
    :returns: ``None`` if it is no whole header of such a message.
    """
    if not is_legacy(error):
        return None
    try:
        from aws_encryption_sdk.internal.formatting.deserialize import deserialize_header

        header, raw = deserialize_header(io.BytesIO(data), MAX_KEYS)
        keys = sorted(
            (edk.key_provider.provider_id, _text(edk.key_provider.key_info))
            for edk in header.encrypted_data_keys
        )
        return {
            "format": header.version.value,
            "suite": f"0x{header.algorithm.algorithm_id:04x}",
            "suite_name": header.algorithm.name,
            "keys": [{"provider": provider, "provider_info": info} for provider, info in keys],
            "context": dict(header.encryption_context),
            "message_id": header.message_id.hex(),
            "frame_length": header.frame_length,
            "bytes": len(data),
            "header_bytes_before_tag": len(raw),
            "legacy": error.message,
            "reason": error.reason,
        }
    except Exception:
        return None


def _text(info: bytes) -> str:
    """A key's name or ARN. The raw AES keyring's is followed by lengths and an IV."""
    return bytes(info).decode("utf-8", "backslashreplace")
