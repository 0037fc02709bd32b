"""Manifests for workers on many hosts: their commands are ones, and their settings are read."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from encfields.cli.main import parser
from encfields.cli.settings import Settings
from tests.documents.pages import ROOT

MANIFESTS = ROOT / "docs" / "manifests"
VARIABLES = {"ENCFIELDS_DATABASE_URL", "ENCFIELDS_KEYRING", "ENCFIELDS_KEY_STORE"}


def _of_kubernetes() -> tuple[list[str], dict[str, str]]:
    """The command and the variables; YAML is read as far as it takes, for want of a parser."""
    text = (MANIFESTS / "kubernetes-job.yaml").read_text()
    command = json.loads(re.findall(r"command: (\[.*\])", text)[0])
    variables = re.findall(r"- name: (ENCFIELDS_\w+)\n\s+value(?:: (\S+)|From)", text)
    return command, dict(variables)


def _of_ecs() -> tuple[list[str], dict[str, str]]:
    task: Any = json.loads((MANIFESTS / "ecs-task.json").read_text())
    (container,) = task["containerDefinitions"]
    given = {one["name"]: one["value"] for one in container["environment"]}
    return container["command"], given | {one["name"]: "" for one in container["secrets"]}


@pytest.mark.parametrize("read", [_of_kubernetes, _of_ecs], ids=["kubernetes", "ecs"])
def test_its_command_works_at_what_is_recorded_with_the_settings_that_it_gives(read, monkeypatch):
    command, variables = read()
    assert set(variables) == VARIABLES
    for name, value in variables.items():
        monkeypatch.setenv(name, value or "postgresql+psycopg://app@db/clinic")
    assert command[:2] == ["encfields", "reencrypt"]
    arguments = parser().parse_args(command[1:])
    assert not arguments.start
    assert not arguments.run_id
    settings = Settings(arguments)
    assert settings.database().url == "postgresql+psycopg://app@db/clinic"
    assert variables["ENCFIELDS_KEYRING"].startswith("kms:arn:aws:kms:")


def test_no_secret_stands_in_one():
    for manifest in Path(MANIFESTS).iterdir():
        assert "://" not in manifest.read_text(), manifest.name
