"""Sphinx: the documentation as a site. `make docs` builds it, and takes a warning for an error."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "src")]

import encfields  # noqa: E402

project = "encfields"
author = "encfields"
copyright = "encfields"
version = release = encfields.__version__

# Furo: readable on a telephone, light and dark, and its navigation works without JavaScript.
html_theme = "furo"
html_title = f"encfields {release}"
html_theme_options = {
    "source_repository": "https://github.com/encfields/encfields/",
    "source_branch": "main",
    "source_directory": "docs/",
}
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "site_pages"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["_build"]

# Headings are link targets as GitHub makes them.
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline"]

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_type_aliases = {"BytesLike": "BytesLike"}
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
nitpicky = False
