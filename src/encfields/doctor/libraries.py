"""Checks the versions of Python and libraries, and which core seals and opens values."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version

from encfields.doctor import Finding
from encfields.native_core import status

SUPPORTED: dict[str, tuple[tuple[int, ...], tuple[int, ...] | None]] = {
    "SQLAlchemy": ((2, 0, 25), (2, 2)),
    "cryptography": ((43, 0, 1), None),
    "aws-encryption-sdk": ((4, 0, 7), (5,)),
    "aws-cryptographic-material-providers": ((1, 11, 2), (2,)),
    "boto3": ((1, 35, 42), (2,)),
}
"""Lowest supported version, and the first unsupported one, as in ``pyproject.toml``."""


def check_libraries() -> list[Finding]:
    """One finding for each library, and whether the material providers can be used."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    findings = [Finding("Python", "ok" if sys.version_info < (3, 14) else "warning", python)]
    findings += [_library(name, *bounds) for name, bounds in SUPPORTED.items()]
    findings += [_providers(), _core()]
    return findings


def _library(name: str, least: tuple[int, ...], below: tuple[int, ...] | None) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, "problem", "is not installed")
    numbers = tuple(int(part) for part in re.findall(r"\d+", installed)[:3])
    if numbers < least or (below is not None and numbers >= below):
        wanted = f"{_dotted(least)} or newer" + (f", below {_dotted(below)}" if below else "")
        return Finding(name, "problem", f"{installed}; {wanted} is supported")
    return Finding(name, "ok", installed)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)


def _providers() -> Finding:
    """Whether the library works: it is generated code with its own runtime, so being installed is
    not enough."""
    name = "material providers"
    try:
        from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
        from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig

        AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
    except Exception as error:
        return Finding(name, "problem", f"cannot be used: {type(error).__name__}")
    return Finding(name, "ok", "can be used")


def _core() -> Finding:
    """Which core seals and opens values; warns of an installed one that cannot be used."""
    core = status()
    is_broken = core.version is not None and not core.is_native
    return Finding("core", "warning" if is_broken else "ok", str(core))
