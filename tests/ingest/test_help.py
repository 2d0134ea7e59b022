"""docs/commands.md is what `--help` prints, for every command there is; commands named on pages exist."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ingest.cli import COMMANDS, ingest
from ingest.help import PROGRAM, contexts, page

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "commands.md"
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PATHS = [context.command_path for context in contexts(ingest, PROGRAM)]


@pytest.fixture(autouse=True)
def called_for_the_first_time():
    """click keeps a command's help option from its first use, and another test may have used it without its group."""
    for context in contexts(ingest, PROGRAM):
        context.command._help_option = None


def section(path):
    """What the page shows for a command."""
    (text,) = re.findall(
        rf"^## {re.escape(path)}\n\n```text\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return text


def test_the_walk_finds_every_command():
    assert {path.split()[3] for path in PATHS if path != PROGRAM} == set(COMMANDS)
    assert f"{PROGRAM} server status" in PATHS


@pytest.mark.parametrize("path", PATHS)
def test_the_page_shows_what_help_prints(path):
    arguments = path.removeprefix(PROGRAM).split()
    printed = CliRunner().invoke(ingest, [*arguments, "--help"], prog_name=PROGRAM)
    assert printed.exit_code == 0
    assert section(path) == printed.output


def test_the_page_is_as_the_command_writes_it_and_holds_nothing_else():
    assert PAGE.read_text(encoding="utf-8") == page(ingest)
    assert CliRunner().invoke(ingest, ["help-pages"], prog_name=PROGRAM).output == page(ingest)


def test_help_is_the_same_on_every_terminal(monkeypatch):
    for columns in ("40", "250"):
        monkeypatch.setenv("COLUMNS", columns)
        printed = subprocess.run(
            [sys.executable, "-m", "ingest", "rejects", "replay", "--help"],
            cwd=CHECKOUT, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert printed.stdout == section(f"{PROGRAM} rejects replay")


def test_click_is_the_locked_version():
    # Another version may lay help out in another way.
    locked = re.search(r"^click==(\S+)$", (CHECKOUT / "requirements.lock").read_text(), re.MULTILINE)
    assert metadata.version("click") == locked[1]


@pytest.mark.parametrize("path", PATHS)
def test_every_command_and_option_says_what_it_does(path):
    command: click.Command = ingest
    for name in path.removeprefix(PROGRAM).split():
        command = command.get_command(click.Context(command), name)
    assert (command.help or "").strip()
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize("document", PAGES, ids=lambda document: document.name)
def test_every_command_named_exists(document):
    text = document.read_text(encoding="utf-8")
    named = re.findall(rf"{PROGRAM} +([a-z][a-z-]*)(?: +([a-z][a-z-]*))?", text)
    for command, below in named:
        assert f"{PROGRAM} {command}" in PATHS
        if any(path.startswith(f"{PROGRAM} {command} ") for path in PATHS) and below:
            assert f"{PROGRAM} {command} {below}" in PATHS
