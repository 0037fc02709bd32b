"""The bill of a release's materials: what encfields is made of, as CycloneDX.

usage: PYTHON scripts/bill_of_materials.py CYCLONEDX_PY FILE
  CYCLONEDX_PY  the command of cyclonedx-bom
  FILE          where to write

The command takes the version of the main component from pyproject.toml, which leaves it to the one
module that has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main(command: str, target: Path) -> None:
    version = version_of(ROOT)
    with tempfile.TemporaryDirectory(prefix="encfields-sbom-") as name:
        project = Path(name, "pyproject.toml")
        project.write_text(with_version((ROOT / "pyproject.toml").read_text("utf-8"), version))
        options = ["--mc-type", "library", "--output-reproducible", "-o", str(target)]
        subprocess.run(
            [
                *(command, "requirements", "--pyproject", str(project), *options),
                str(ROOT / "requirements" / "runtime.txt"),
            ],
            check=True,
        )
    component = json.loads(target.read_text("utf-8"))["metadata"]["component"]
    if (component["name"], component.get("version")) != ("encfields", version):
        sys.exit(f"{target} does not name encfields {version}: {component}")
    print(f"{target}: encfields {version}")


def version_of(root: Path) -> str:
    """The version that the package says it has."""
    names: dict[str, str] = {}
    exec((root / "src" / "encfields" / "version.py").read_text("utf-8"), names)
    return names["VERSION"]


def with_version(project: str, version: str) -> str:
    """`pyproject.toml` as it would be if it said the version itself."""
    found = project.replace('dynamic = ["version", ', f'version = "{version}"\ndynamic = [', 1)
    if found == project:
        sys.exit("pyproject.toml no longer says that the version is dynamic")
    return found


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
