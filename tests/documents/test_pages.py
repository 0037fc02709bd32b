"""The documentation hangs together: links lead somewhere, commands exist, README stays short."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from encfields.cli.config_file import COLUMN, SETTINGS, TABLE
from encfields.cli.main import main, parser
from encfields.cli.settings import Settings
from encfields.keys.cache.stats import CacheStats
from tests.documents.pages import PAGES, README, ROOT, Block, blocks, name_of, prose

README_WORDS = 1_400

LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"`(encfields [a-z][^`]*)`")
"""A command in running text. It may leave out what its reader has to fill in."""


def every(language: str) -> list[Any]:
    found = [block for page in PAGES for block in blocks(page, language)]
    return [pytest.param(block, id=block.place) for block in found]


def anchors(page: Path) -> set[str]:
    """What the page's headings are called in links, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    for link in LINK.findall(prose(page)):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_the_table_of_contents():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text())}
    assert {page for page in PAGES if page != index} <= linked


def test_the_readme_is_read_in_five_minutes():
    assert len(README.read_text().split()) <= README_WORDS


@pytest.mark.parametrize("command", ["pip install encfields", "make demo", "make test", ".ci/run"])
def test_the_readme_states_how_to_begin(command):
    assert command in README.read_text()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_command_in_the_text_is_one_and_has_the_options_named(page, capsys):
    for command in COMMAND.findall(prose(page)):
        words = [word for word in command.split()[1:] if word != "..."]
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        verbs = [word for word in words if re.fullmatch(r"[a-z][a-z-]+", word)]
        assert main([*verbs[:2], "--help"]) == 0, command
        assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)), command


@pytest.mark.parametrize("block", every("console"))
def test_a_command_line_is_understood(block: Block):
    """The planner's page is tested in whole: see test_blind_indexes.py."""
    for line in block.code.splitlines():
        if line.startswith("$ encfields "):
            parser().parse_args(shlex.split(line, comments=True)[2:])


def commands(one: argparse.ArgumentParser) -> Iterator[str]:
    """The last words of a parser's commands; the steps of an adoption have a page."""
    for action in one._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from [name] if name == "adopt" else list(commands(sub)) or [name]


def test_the_page_of_the_command_line_names_each_command():
    page = (ROOT / "docs" / "cli.md").read_text()
    named = set(re.findall(r"[a-z-]+", " ".join(re.findall(r"^\| (.+?) \|", page, re.M))))
    assert set(commands(parser())) <= named


@pytest.mark.parametrize("block", every("json"))
def test_json_is_json(block: Block):
    json.loads(block.code)


@pytest.mark.parametrize("block", every("toml"))
def test_a_configuration_file_is_understood(block: Block, tmp_path):
    file = tmp_path / "encfields.toml"
    file.write_text(block.code)
    settings = Settings(parser().parse_args(["status", "--config", str(file)]))
    if "tables" in tomllib.loads(block.code):
        assert settings.specs()
    else:
        database = settings.database()
        assert database.engine or (database.url or "").startswith("postgresql+psycopg://")


def test_the_handbook_names_metrics_and_counters_that_there_are():
    page = (ROOT / "docs" / "operations.md").read_text()
    metrics = set(re.findall(r"`(encfields\.(?:key|kms|index|values)\.[a-z.]+)`", page))
    telemetry = (ROOT / "src" / "encfields" / "telemetry.py").read_text()
    families = re.findall(r'^    "(\w+)": "', telemetry, re.M)  # one counter for each
    known = set(re.findall(r'"(encfields\.[a-z.]+)"', telemetry))
    known |= {f"encfields.key.{name}" for name in families}
    assert metrics
    assert metrics <= known
    counters = set(re.findall(r"`stats\.keys\.(\w+)`", page))
    assert counters
    assert all(hasattr(CacheStats, one) for one in counters)


def test_the_page_of_the_settings_names_each_of_them():
    """In the first column of its tables, and nothing else there."""
    page = (ROOT / "docs" / "settings.md").read_text()
    tables = re.split(r"^\| (setting|in a [^|]*) \| is .*$", page, flags=re.M)[2::2]
    named = [re.findall(r"^\| `(\w+)` \|", table, re.M) for table in tables]
    assert named == [list(SETTINGS), list(TABLE), list(COLUMN)]


def test_the_page_of_the_settings_shows_the_message_of_a_wrong_one(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs" / "settings.md").read_text()
    shown = re.search(r"```text\n(.*?)```", page, re.S)
    assert shown is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "encfields.toml").write_text("\n\nkeytable = 'keys'")
    assert main(["status"]) == 3
    assert capsys.readouterr().err == shown[1]
