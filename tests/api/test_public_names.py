"""What users may import: the list to change on purpose, with docs/api-stability.md in mind."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import encfields
import encfields.bulk
from tests.documents.pages import PAGES, ROOT, Block, blocks

PUBLIC = {
    "encfields": [
        "BlindIndex",
        "CompoundBlindIndex",
        "DynamoDbKeyStore",
        "EncFieldsError",
        "EncryptedType",
        "Encryption",
        "Formerly",
        "LegacyReader",
        "Plaintext",
        "Reveal",
        "Sealed",
        "SqlKeyStore",
        "attach",
        "blind",
        "encryption_of",
        "errors",
        "keyrings",
        "read_header",
    ],
    "encfields.alembic": [
        "IndexColumn",
        "IrreversibleError",
        "MigrationError",
        "Options",
        "SealedColumn",
        "op",
        "render_item",
    ],
    "encfields.errors": [
        "AmbiguousRowError",
        "BindingError",
        "BlindIndexError",
        "CiphertextCopyError",
        "ConfigurationError",
        "ContextMismatchError",
        "DeclarationError",
        "DecryptionError",
        "EncFieldsError",
        "IdentityChangeError",
        "KeyAccessError",
        "KeyDestroyedError",
        "KeyExistsError",
        "KeyNotFoundError",
        "KeyStoreError",
        "KeyUnavailableError",
        "MalformedMessageError",
        "NotAttachedError",
        "TamperedError",
        "UnboundValueError",
        "UnknownIdentityError",
        "UnreadableError",
        "UnsupportedOperationError",
        "ValueDecodingError",
        "ValueEncodingError",
    ],
    "encfields.index": [
        "Transform",
        "casefold",
        "digits",
        "exact",
        "first",
        "first_letter",
        "last",
        "transform_named",
        "year",
    ],
    "encfields.interop": [
        "EncfieldsMaterialsManager",
        "column_context",
        "column_key",
        "materials_manager",
    ],
    "encfields.keyrings": [
        "Keyring",
        "aws_kms",
        "aws_kms_discovery",
        "aws_kms_mrk",
        "generate_local_key",
        "local",
    ],
    "encfields.keys": [
        "BeaconKey",
        "BeaconVersion",
        "BranchKey",
        "KeyStore",
        "KeyVersion",
        "RewrapReport",
        "WrappedBeacons",
        "WrappedKey",
    ],
    "encfields.adopt": [
        "Adoption",
        "AdoptionError",
        "Comparison",
        "Fault",
        "adopt",
        "adopting_run",
        "begin_adoption",
        "close_plaintext",
        "compare_adopted",
        "end_adoption",
        "ensure_adopted",
        "refill_plaintext",
        "reopen_plaintext",
        "withdraw_adoption",
    ],
    "encfields.bulk": [
        "Census",
        "ColumnCensus",
        "ConflictingRunError",
        "DatabaseUnavailableError",
        "DryRun",
        "Failure",
        "IndexCensus",
        "Options",
        "ProgressBar",
        "ProgressLog",
        "ProgressState",
        "Quarantined",
        "Reencryption",
        "ReencryptionError",
        "Report",
        "RunRefusedError",
        "Sample",
        "SealedColumn",
        "Summary",
        "TableSpec",
        "TooManyQuarantinedError",
        "UnfinishedError",
        "Verification",
        "abandon",
        "census",
        "conversion",
        "pause",
        "rebinding",
        "report_of",
        "verify",
        "work",
    ],
    "encfields.native_core": ["Status", "status"],
    "encfields.sizes": ["max_stored_bytes", "stored_bytes"],
    "encfields.telemetry": ["instrument"],
    "encfields.testing": [
        "Attach",
        "Canary",
        "assert_absent",
        "assert_absent_from_frames",
        "attach_locally",
        "attach_locally_async",
        "encfields_attach",
        "encfields_canary",
        "encfields_keyring",
        "kms_calls",
        "local_keyring",
        "local_store",
    ],
}

SHOWN = [
    *(block for page in PAGES for block in blocks(page, "python")),
    *(
        Block(path, 1, path.read_text())
        for folder in ("examples", "migrations")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ),
]
"""Code that users are shown."""


@pytest.mark.parametrize("module", PUBLIC)
def test_its_names_are_those_that_were_agreed(module):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == PUBLIC[module]
    assert all(hasattr(loaded, name) for name in loaded.__all__)


def test_a_name_in_two_modules_is_one_thing():
    found: dict[str, set[int]] = {}
    for module, names in PUBLIC.items():
        for name in names:
            thing = getattr(importlib.import_module(module), name)
            found.setdefault(name, set()).add(id(thing))
    assert [name for name, things in found.items() if len(things) > 1] == []


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: block.place)
def test_code_that_is_shown_imports_public_names_alone(block):
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("encfields"):
            shown = {alias.name for alias in node.names}
            assert shown <= set(PUBLIC.get(node.module or "", ())), (node.module, shown)
        if isinstance(node, ast.Import):
            ours = {alias.name for alias in node.names if alias.name.startswith("encfields")}
            assert ours <= set(PUBLIC)


def test_what_stays_stable_names_each_public_module():
    page = (ROOT / "docs" / "api-stability.md").read_text()
    assert set(re.findall(r"^\| `(encfields[\w.]*)` \|", page, re.M)) == set(PUBLIC)


def test_a_public_name_is_there_whenever_it_is_asked_for():
    code = "import encfields; print(*(getattr(encfields, name) for name in encfields.__all__))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(encfields.__all__) <= set(dir(encfields))
    with pytest.raises(AttributeError, match="'encfields' has no attribute 'nonsense'"):
        _ = encfields.nonsense  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="nonsense"):
        from encfields import nonsense  # type: ignore[attr-defined]  # noqa: F401


def test_the_version_is_in_one_place():
    assert encfields.__version__ == importlib.metadata.version("encfields")
    assert encfields.__version__ in (ROOT / "CHANGELOG.md").read_text()
    settings = Path(ROOT / "pyproject.toml").read_text()
    assert f'version = "{encfields.__version__}"' not in settings


def test_programs_that_import_former_names_get_the_present_ones():
    with pytest.warns(PendingDeprecationWarning, match="encfields.bulk"):
        former = importlib.reload(importlib.import_module("encfields.reencrypt"))
    assert former.Reencryption is encfields.bulk.Reencryption
    assert importlib.import_module("encfields.reencrypt.spec").TableSpec is former.TableSpec
    header = importlib.import_module("encfields.message_header")
    assert header.read_header is encfields.read_header
