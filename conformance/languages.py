"""How each language's driver is built and run; what it needs of the machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
BUILD_SECONDS = 3600
"""The SDK for Rust alone takes half an hour on a slow machine."""
RUN_SECONDS = 600


@dataclass(frozen=True)
class Language:
    """A driver.

    :param name: the folder's name. :param tools: commands that the machine must have.
    :param build: command that gets the SDK and builds the driver. :param run: command that runs
        it: it reads a job from its standard input and writes its answer to its standard output.
    :param has_empty_values: whether the SDK knows empty values in an encryption context. Where it
        does not, rows whose key has an empty text are beyond it.
    """

    name: str
    tools: tuple[str, ...]
    build: tuple[str, ...]
    run: tuple[str, ...]
    has_empty_values: bool = True

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    def missing(self) -> list[str]:
        """Its tools that this machine lacks."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    def prepare(self, seconds: int = BUILD_SECONDS) -> str | None:
        """Build it.

        :param seconds: how long that may take.
        :returns: why it could not be built, or ``None``.
        """
        try:
            done = subprocess.run(
                self.build,
                check=False,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return f"{' '.join(self.build)} took more than {seconds} seconds"
        return None if done.returncode == 0 else (done.stderr or done.stdout)[-2000:]

    def answer(self, job: str, environment: dict[str, str]) -> str:
        """Run it.

        :raises RuntimeError: it ended with an error; what it said.
        """
        done = subprocess.run(
            self.run,
            check=False,
            cwd=self.folder,
            input=job,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            env=environment,
        )
        if done.returncode != 0:
            raise RuntimeError((done.stderr or done.stdout)[-2000:])
        return done.stdout


LANGUAGES = {
    one.name: one
    for one in (
        Language(
            "javascript",
            tools=("node", "npm"),
            build=("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"),
            run=("node", "driver.mjs"),
        ),
        Language(
            "java",
            tools=("java", "mvn"),
            build=("mvn", "-B", "package"),
            run=("java", "-cp", "target/classes:target/libraries/*", "Driver"),
            has_empty_values=False,
        ),
        Language(
            "rust",
            tools=("cargo",),
            build=("cargo", "build", "--locked", "--quiet"),
            # It knows where CARGO_TARGET_DIR has the driver.
            run=("cargo", "run", "--locked", "--quiet"),
        ),
        Language(
            "go",
            tools=("go",),
            build=("go", "build", "-o", "target/driver", "."),
            run=("target/driver",),
        ),
    )
}
