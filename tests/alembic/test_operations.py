"""The operations as data: inverses, diffs, rendered code, and types for a type checker."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import render_python_code
from alembic.operations import Operations
from alembic.operations.ops import UpgradeOps
from sqlalchemy import Date, DateTime

import encfields.alembic
from encfields.alembic import IndexColumn, IrreversibleError, SealedColumn
from encfields.alembic.operations import indexes, keys, values
from encfields.alembic.operations.base import NothingOp
from encfields.alembic.operations.indexes import EnsureBlindIndexOp, FillBlindIndexOp
from encfields.alembic.operations.keys import (
    CreateBranchKeyOp,
    CreateKeyTableOp,
    DropKeyTableOp,
    RetireBeaconKeyOp,
    RotateBeaconKeyOp,
    RotateBranchKeyOp,
)
from encfields.alembic.operations.values import (
    ConvertEncryptedOp,
    DecryptColumnOp,
    EnsureEncryptedOp,
    RebindOp,
    ReencryptOp,
)
from encfields.bulk.rows.spec import TableSpec
from encfields.bulk.rows.types_as_data import type_to_data

SPEC = TableSpec.of("patient", ["ssn", SealedColumn("notes", "n", "k", ("a", "b"))], schema="s")
WAS = TableSpec.of(
    "patient", [SealedColumn("ssn", "old", context_names=("number",)), "notes"], schema="s"
)

INDEXES = (
    IndexColumn("ssn_bidx"),
    IndexColumn("ssn_last4_bidx", "ssn", "last4", bits=20),
    IndexColumn("i", ("ssn", "notes"), ("exact", "casefold"), version=2, key="k", domain="d"),
)

VERBS = [
    "create_encryption_keys_table",
    "drop_encryption_keys_table",
    "create_branch_key",
    "rotate_branch_key",
    "reencrypt",
    "rebind",
    "convert_encrypted",
    "decrypt_column",
    "ensure_encrypted",
    "fill_blind_index",
    "ensure_blind_index",
    "rotate_beacon_key",
    "retire_beacon_key",
]
ALL: list[Any] = [
    CreateKeyTableOp("encfields_keys", None, if_not_exists=False),
    CreateKeyTableOp("keys", "s", if_not_exists=True),
    DropKeyTableOp("keys", "s", destroy_keys=True),
    CreateBranchKeyOp("clinical"),
    RotateBranchKeyOp("clinical"),
    ReencryptOp(SPEC, queue=True),
    RebindOp(SPEC, WAS, queue=False),
    DecryptColumnOp(TableSpec.of("patient", ["ssn"]), {"ssn": "plain"}),
    EnsureEncryptedOp(SPEC),
    ConvertEncryptedOp(
        TableSpec.of("patient", ["born"], schema="s"),
        (type_to_data(Date()), type_to_data(DateTime(timezone=True))),
        SealedColumn("born", "old"),
        queue=True,
        indexes=INDEXES[:1],
    ),
    ReencryptOp(SPEC, queue=False, indexes=INDEXES),
    RebindOp(SPEC, WAS, queue=False, indexes=INDEXES),
    FillBlindIndexOp(TableSpec.of("patient", []), INDEXES[:1], reindex=False, queue=False),
    FillBlindIndexOp(SPEC, INDEXES, reindex=True, queue=True),
    EnsureBlindIndexOp(TableSpec.of("patient", [], schema="s"), INDEXES),
    RotateBeaconKeyOp("clinical", None),
    RotateBeaconKeyOp("clinical", 2),
    RetireBeaconKeyOp("clinical", 1, ()),
    RetireBeaconKeyOp("clinical", 1, ("patient.ssn_bidx",)),
]


@pytest.mark.parametrize("operation", ALL, ids=lambda op: op.verb)
def test_rendered_code_makes_the_same_operation_again(operation: Any) -> None:
    code = render_python_code(UpgradeOps([operation]))
    invoked: list[Any] = []

    class Recorder(Operations):
        def __init__(self) -> None:
            pass

        def invoke(self, operation: Any) -> Any:
            invoked.append(operation)

    names: dict[str, Any] = {
        "op": Recorder(),
        "SealedColumn": SealedColumn,
        "IndexColumn": IndexColumn,
        "sa": sqlalchemy,
    }
    exec("if True:\n    " + code, names)
    (again,) = invoked
    assert vars(again) == vars(operation)


@pytest.mark.parametrize("operation", ALL, ids=lambda op: op.verb)
def test_a_diff_names_the_operation(operation: Any) -> None:
    assert operation.to_diff_tuple()[0] == operation.verb
    assert len(operation.to_diff_tuple()) > 1


def test_a_key_table_is_made_by_the_inverse_of_its_drop() -> None:
    there = CreateKeyTableOp("keys", "s", if_not_exists=False)
    back = there.reverse()
    assert isinstance(back, DropKeyTableOp)
    assert vars(back) == {"table_name": "keys", "schema": "s", "destroy_keys": False}
    assert vars(back.reverse()) == vars(there)


def test_a_rebinding_is_undone_by_the_way_back() -> None:
    back = RebindOp(SPEC, WAS, queue=True).reverse()
    assert (back.spec, back.was, back.queue) == (WAS, SPEC, True)


def test_filling_an_index_leaves_nothing_to_undo() -> None:
    assert isinstance(
        FillBlindIndexOp(SPEC, INDEXES, reindex=False, queue=False).reverse(), NothingOp
    )


@pytest.mark.parametrize(
    "operation, why",
    [
        (CreateBranchKeyOp("k"), "values may have been sealed under it"),
        (RotateBranchKeyOp("k"), "old values stay readable"),
        (ReencryptOp(SPEC, queue=False), "the values are the same"),
        (DecryptColumnOp(SPEC, {}), "dropping its columns"),
        (EnsureEncryptedOp(SPEC), "a check has no inverse"),
        (EnsureBlindIndexOp(SPEC, INDEXES), "a check has no inverse"),
        (RotateBeaconKeyOp("k", 2), "indexed under the new version already"),
        (RetireBeaconKeyOp("k", 1, ()), "cannot be brought back"),
    ],
    ids=lambda value: getattr(value, "verb", ""),
)
def test_what_has_no_inverse_says_why_and_what_to_do(operation: Any, why: str) -> None:
    with pytest.raises(IrreversibleError, match=why) as caught:
        operation.reverse()
    assert "downgrade" in str(caught.value)


@pytest.mark.parametrize("verb", VERBS)
def test_the_stub_says_what_the_operation_takes(verb: str) -> None:
    stub = Path(encfields.alembic.__file__).with_name("op.pyi").read_text()
    declared = next(
        node
        for node in ast.parse(stub).body
        if isinstance(node, ast.FunctionDef) and node.name == verb
    )
    modules = values, indexes, keys
    kinds = [kind for module in modules for kind in vars(module).values()]
    kind = next(c for c in kinds if getattr(c, "verb", None) == verb)
    parameters = list(inspect.signature(getattr(kind, verb)).parameters.values())[1:]
    arguments = declared.args
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + arguments.defaults
    told = [*zip(arguments.args, defaults, strict=True)]
    told += [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    assert [(a.arg, a.annotation and ast.unparse(a.annotation)) for a, _ in told] == [
        (p.name, p.annotation) for p in parameters
    ]
    assert [ast.literal_eval(d) if d else inspect.Parameter.empty for _, d in told] == [
        p.default for p in parameters
    ]


def test_a_type_checker_sees_our_operations_and_alembics(tmp_path: Path) -> None:
    good = tmp_path / "good.py"
    good.write_text(
        "from encfields.alembic import SealedColumn, op\n"
        "op.drop_table('visit')\n"
        "op.reencrypt('patient', ['ssn', SealedColumn('notes', key='k')], queue=True)\n"
        "op.rebind('patient', ['ssn'], was=['ssn'])\n"
        "op.fill_blind_index('patient', ['ssn_bidx'], reindex=True)\n"
    )
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from encfields.alembic import op\n"
        "op.reencrypt('patient', columns=1)\n"
        "op.rebind('patient', ['ssn'])\n"
        "op.no_such_operation()\n"
    )
    # By the project's own settings, strict, and with what it remembers of everything else.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", str(good), str(bad)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=Path(__file__).parents[2],
        env={"PATH": ""},
    )
    faults = [line for line in done.stdout.splitlines() if "error:" in line and "bad.py" in line]
    assert [line.split(":")[1] for line in faults] == ["2", "3", "4"], done.stdout
    assert "good.py" not in done.stdout
