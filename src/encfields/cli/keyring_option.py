"""``--keyring``: which wrapping keys open and make branch keys, in one word."""

from __future__ import annotations

from typing import Any, NoReturn

from encfields import keyrings
from encfields.errors import ConfigurationError
from encfields.keyrings import Keyring

KEYRING_FORMS = (
    "kms:ARN[,ARN...], mrk:ARN[,ARN...] for multi-Region keys, "
    "discovery:ACCOUNT[,ACCOUNT...]@REGION[,REGION...], or local:PATH for development"
)


class NoKeyring(Keyring):
    """What stands in a command that was given no keyring: branch keys are listed, not opened."""

    can_wrap = False

    def __repr__(self) -> str:
        return "<NoKeyring>"

    def build(self) -> Any:
        """:raises ConfigurationError: always."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ConfigurationError(
            f"this needs keys, and no keyring is given; give --keyring {KEYRING_FORMS}",
            reason="no-keyring",
        )


def parse_keyring(text: str | None) -> Keyring:
    """The keyring that `text` describes.

    :raises ConfigurationError: it describes none.
    """
    if text is None:
        return NoKeyring()
    kind, _, rest = text.partition(":")
    if kind == "local" and rest:
        return keyrings.local(rest)
    if kind == "kms" and rest:
        return keyrings.aws_kms(*_split(rest))
    if kind == "mrk" and rest:
        return keyrings.aws_kms_mrk(*_split(rest))
    if kind == "discovery" and "@" in rest:
        accounts, _, regions = rest.partition("@")
        return keyrings.aws_kms_discovery(_split(accounts), regions=_split(regions))
    # The text is not repeated: it may be a key that was given in place of a path.
    raise ConfigurationError(
        f"this is no keyring; a keyring is one of {KEYRING_FORMS}", reason="keyring"
    )


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]
