"""The README as the package index shows it, where no file of ours lies beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r"(?<=\]\()(?!\w+:|#)(?=[^)\s]+\))")
"""Where a Markdown link that names a file of ours begins."""


class PackageReadme(MetadataHookInterface):
    """Hatchling's hook for ``dynamic = ["readme"]``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Give the README's links to files the address that the files have for everyone."""
        text = Path(self.root, "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": _RELATIVE.sub(f"{metadata['urls']['Source']}/blob/main/", text),
        }
