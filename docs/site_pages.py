"""What the site has beyond the pages of this folder: navigation, and the two references.

The pages are written for whoever reads them in the repository as well. So the navigation is made
of the index's table, links to files that are no pages lead to the repository, and the references
are made of docstrings and of the command line's parsers while the site is built.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from encfields.cli.main import parser as command_line

MODULES = {
    "encfields": "Declaring, attaching, key stores",
    "encfields.errors": "Errors",
    "encfields.keyrings": "Keyrings",
    "encfields.keys": "Keys and key stores",
    "encfields.index": "Transforms of blind indexes",
    "encfields.bulk": "Bulk runs",
    "encfields.adopt": "Adopting plaintext columns",
    "encfields.alembic": "Alembic",
    "encfields.interop": "The stock AWS client",
    "encfields.testing": "Testing",
    "encfields.telemetry": "Telemetry",
    "encfields.sizes": "Sizes",
    "encfields.native_core": "The compiled core",
}
HANDED_OUT = {
    "encfields.keys": (
        "encfields.keys.admin.KeyAdmin",
        "encfields.keys.many.many_keys.ManyKeys",
        "encfields.keys.many.report.KeysReport",
        "encfields.keys.many.report.KeyFailure",
        "encfields.keys.removal.DestructionReceipt",
        "encfields.keys.removal.ValuesUnder",
    ),
}
"""Classes that nobody imports: ``encryption.keys`` is one, and its verbs return others."""

ELSEWHERE = {
    "encfields": "EncFieldsError",
    "encfields.alembic": "Options, SealedColumn",
}
"""What a module names as well, and another page has."""

REFERENCE = "reference"

_HIDDEN = "cache_ok, comparator_factory, coerce_to_is_types, impl, "
"""SQLAlchemy's protocol of types, which is nothing to call."""

_ROW = re.compile(r"^\| \*\*(?P<group>\w+)\*\* \||^\| \[[^\]]+\]\((?P<page>[\w./-]+)\.md\)", re.M)
_OUTSIDE = re.compile(r"\]\((?:\.\./)+(?!iam/)(?P<path>[^)#]+)(?P<anchor>#[^)]*)?\)")
_BESIDE = re.compile(r"\]\((?P<path>[\w./-]+\.(?:json|py|yaml))\)")


def setup(app: Any) -> dict[str, Any]:
    """Sphinx's entry point."""
    app.connect("builder-inited", write_references)
    app.connect("source-read", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def prepare(app: Any, docname: str, source: list[str]) -> None:
    """A page as the site has it."""
    repository = app.config.html_theme_options["source_repository"] + "blob/main/"
    folder = Path("docs", docname).parent
    text = _OUTSIDE.sub(lambda m: _outside(m, folder, repository), source[0])
    text = _BESIDE.sub(lambda m: f"]({repository}{folder.as_posix()}/{m['path']})", text)
    source[0] = text + _navigation(text) if docname == app.config.root_doc else text


def _outside(match: re.Match[str], folder: Path, repository: str) -> str:
    ups = match[0].count("../")
    base = folder.parts[: len(folder.parts) - ups]
    path = "/".join((*base, match["path"]))
    if path.startswith("docs/"):
        return match[0]
    return f"]({repository}{path}{match['anchor'] or ''})"


def _navigation(index: str) -> str:
    """The index's table, as trees for the navigation."""
    groups: dict[str, list[str]] = {}
    for row in _ROW.finditer(index):
        if row["group"]:
            groups[row["group"]] = []
        else:
            groups[list(groups)[-1]].append(row["page"])
    groups["Reference"] = [f"{REFERENCE}/commands", *(f"{REFERENCE}/{name}" for name in MODULES)]
    return "".join(
        f"\n\n```{{toctree}}\n:hidden:\n:caption: {group}\n\n" + "\n".join(pages) + "\n```\n"
        for group, pages in groups.items()
    )


def write_references(app: Any) -> None:
    """The pages that are made of code."""
    folder = Path(app.srcdir, REFERENCE)
    folder.mkdir(exist_ok=True)
    for name, title in MODULES.items():
        _write(folder / f"{name}.rst", _module_page(name, title))
    _write(folder / "commands.rst", "\n".join(_commands_page()))


def _write(path: Path, text: str) -> None:
    """Write what changed only, or Sphinx would build it anew each time."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _module_page(name: str, title: str) -> str:
    heading = f"{title}: ``{name}``"
    options = f"   :exclude-members: {_HIDDEN}{ELSEWHERE.get(name, '')}\n"
    handed_out = "".join(f"\n.. autoclass:: {one}\n" for one in HANDED_OUT.get(name, ()))
    title = f"{heading}\n{'=' * len(heading)}"
    return f"{title}\n\n.. automodule:: {name}\n{options}{handed_out}"


def _commands_page() -> Iterator[str]:
    yield "Every command and its options\n=============================\n"
    yield "What ``encfields COMMAND --help`` prints. See also :doc:`/cli`.\n"
    for parser in _parsers(command_line()):
        yield f"``{parser.prog}``\n{'-' * (len(parser.prog) + 4)}\n"
        yield ".. code-block:: text\n"
        yield textwrap.indent(parser.format_help(), "   ")


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in dict.fromkeys(action.choices.values()):
                yield from _parsers(one)
