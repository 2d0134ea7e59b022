"""README and pages say what is: commands, links, models, variables and records are held against the code."""

import importlib
import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
import yaml

from ingest.cli import ingest
from ingest.connection import variable_names
from ingest.streams.registry import READ
from orchestration.__main__ import orchestration

CHECKOUT = Path(__file__).resolve().parents[1]
README = CHECKOUT / "README.md"
PAGES = [README, CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PROGRAMS = {"ingest": ingest, "orchestration": orchestration}
FENCE = re.compile(r"^ *```(?P<info>[^\n`]*)\n(?P<body>.*?)^ *```$", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"(?:^|\s)make((?: +(?:[A-Z]+=\S+|[a-z][a-z-]*))+)")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|tmp|mnt|opt|srv|Users|work\w*)\b")

in_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, info: str) -> list[str]:
    """Bodies of the fenced blocks with this info string (`sh`, `json events`)."""
    return [found["body"] for found in FENCE.finditer(text_of(page)) if found["info"].strip() == info]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def command_lines(page: Path) -> Iterator[str]:
    """What a reader may type: lines of shell blocks without their comments, and code inside sentences."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            yield re.sub(r"(^|\s)#.*", "", line)
    # A span may run over a line's end; one that holds a backtick has two around it.
    yield from (" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page)))


def section(page: Path, heading: str) -> str:
    """What stands under a heading of the second rank."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page.name} has no section {heading!r}"
    return found[1]


def first_cells(table: str) -> list[str]:
    """The first cell of each row of a Markdown table, headings and rules left out."""
    cells = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    return [cell for cell in cells if "`" in cell]


def named_in(cells: list[str]) -> set[str]:
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def targets_of_makefile() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text_of(CHECKOUT / "Makefile"), re.MULTILINE))


def models() -> dict[str, str]:
    """Name → SQL of every model."""
    return {path.stem: text_of(path) for path in (CHECKOUT / "models").rglob("*.sql")}


def refs_of(sql: str) -> set[str]:
    """The models and seeds a model reads, those in the project's macros it calls included."""
    text = "\n".join(text_of(path) for path in (CHECKOUT / "macros").glob("*.sql"))
    macros = dict(re.findall(r"{% macro (\w+)\(.*?%}(.*?){%-? endmacro", text, re.DOTALL))
    called = [body for name, body in macros.items() if re.search(rf"\b{name}\(", sql)]
    return {name for part in (sql, *called) for name in re.findall(r"ref\('(\w+)'\)", part)}


def slugs(page: Path) -> set[str]:
    """The anchors a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def ingest_commands(command: click.Command, path: str) -> Iterator[str]:
    """Every command below a group, written as one types it."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from ingest_commands(below, f"{path} {name}")


def check_call(program: str, words: list[str]) -> None:
    """Walk the click tree along `words`; the rest must be options and arguments of the command reached.

    Raises:
        click.UsageError: there is no such command or option.
    """
    command: click.Command = PROGRAMS[program]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(click.Context(command), words[0])
        if below is None:
            raise click.UsageError(f"no command {words[0]!r}")
        command, words = below, words[1:]
    command.make_parser(click.Context(command)).parse_args(list(words))


def calls(line: str) -> Iterator[tuple[str, list[str]]]:
    """The calls of our programs in a line, each as program and words."""
    for program, rest in re.findall(r"python -m (\w+)([^\n|>)#;]*)", line):
        if program in PROGRAMS and "…" not in rest:
            yield program, shlex.split(rest.replace('"', ""))


@in_each_page
def test_every_make_target_exists(page):
    wanted = {
        word
        for line in command_lines(page)
        for words in TARGET.findall(line)
        for word in words.split()
        if "=" not in word
    }
    assert wanted <= targets_of_makefile()
    assert wanted or page.name in ("sessions.md", "access.md")


def test_the_readme_tells_every_make_target_and_every_ingest_command():
    told = [cell.strip("`") for cell in first_cells(section(README, "Commands"))]
    commands = {f"make {target}" for target in targets_of_makefile()}
    commands |= set(ingest_commands(ingest, "python -m ingest"))
    # The rest of that program has make targets.
    commands |= {f"python -m orchestration {name}" for name in ("recommendations", "alerts", "privacy", "export")}
    # An argument behind the command does not matter.
    assert {command for command in commands if not any(f"{line} ".startswith(f"{command} ") for line in told)} == set()
    assert len(told) == len(commands)


@in_each_page
def test_every_command_line_parses(page):
    for line in command_lines(page):
        for program, words in calls(line):
            try:
                check_call(program, words)
            except click.UsageError as error:
                pytest.fail(f"{page.name}: {line!r}: {error.format_message()}")


@pytest.mark.parametrize(
    "line", ["python -m ingest lod x", "python -m ingest load --forced x", "python -m ingest server restart"]
)
def test_a_command_line_that_is_wrong_does_not_parse(line):
    (program, words) = next(calls(line))
    with pytest.raises(click.UsageError):
        check_call(program, words)


@in_each_page
def test_every_relative_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in slugs(target), link


@in_each_page
def test_no_path_of_one_machine(page):
    assert MACHINE_PATH.findall(text_of(page)) == []


@in_each_page
def test_every_file_named_is_there(page):
    files = re.findall(
        r"`((?:ingest|orchestration|models|seeds|tests|docs|macros)/[\w./-]+\.(?:py|sql|csv|yml|md))`", prose(page)
    )
    # The README's example makes two files of its own.
    made = re.findall(r"^`(models/[^`]+)`(?=:| is the contract)", prose(README), re.MULTILINE)
    assert len(made) == 2
    assert {name for name in files if not (CHECKOUT / name).exists()} <= set(made)


def test_the_lineage_names_every_model_and_nothing_else():
    lineage = next(found["body"] for found in FENCE.finditer(section(README, "Lineage")))
    named = set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", lineage))
    assert named == {name for name in [*models(), *READ] if "_" in name}
    assert all(re.search(rf"\b{name}\b", lineage) for name in models())


def test_every_arrow_of_the_lineage_is_a_ref():
    lineage = next(found["body"] for found in FENCE.finditer(section(README, "Lineage")))
    refs = {name: refs_of(sql) for name, sql in models().items()}
    arrows = 0
    for line in lineage.splitlines():
        parts = [re.findall(r"\b(?!_)\w+_\w+\b", part) for part in line.split("─►")]
        for above, below in pairwise(parts):
            for name in below:
                assert not above or refs[name] & set(above), f"{name} refs none of {above}"
                arrows += bool(above)
    assert arrows > 10


def test_the_readmes_table_of_marts_is_complete():
    marts = {path.stem for path in (CHECKOUT / "models" / "marts").rglob("*.sql")}
    assert named_in(first_cells(section(README, "Lineage"))) == marts


def test_the_readmes_table_of_streams_is_complete():
    rows = [line for line in section(README, "Load your own files").splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == list(READ)


def test_every_variable_of_the_code_is_in_the_table_and_the_other_way_round():
    told = named_in(first_cells(section(README, "Configuration")))
    code = [path for folder in ("ingest", "orchestration") for path in (CHECKOUT / folder).rglob("*.py")]
    code += [*(CHECKOUT / "macros").glob("*.sql"), CHECKOUT / "profiles.yml", CHECKOUT / "Makefile"]
    variable = re.compile(r"""['"$({]((?:TIDEMARK|DATABASE|ALERT|SLACK|SENTRY)_[A-Z_]+)""")
    quoted = {name for path in code for name in variable.findall(text_of(path))}
    # `DATABASE_URL` is one; a constant that holds another's name is not.
    read = {name for name in quoted if not name.startswith("DATABASE_") or name == "DATABASE_URL"}
    assert {name for name in told if not name.startswith("PG")} == read
    libpq = {*variable_names().values(), "PGSERVICEFILE"}
    assert {name for name in told if name.startswith("PG")} <= libpq
    assert set(re.findall(r"env_var\('(PG\w+)'", text_of(CHECKOUT / "profiles.yml"))) <= told


def test_the_example_environment_has_the_variables_of_the_table():
    rows = [line for line in section(README, "Configuration").splitlines() if line.startswith("| `")]
    for_users = named_in([row.split("|")[1] for row in rows if "not for you to set" not in row])
    example = re.findall(r"^# ([A-Z_]+)=", text_of(CHECKOUT / ".env.example"), re.MULTILINE)
    assert sorted(example) == sorted(for_users)


def test_the_tests_named_for_the_laws_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", section(README, "Laws"))
    assert len(named) > 5
    for path, name in named:
        assert f"\ndef {name}(" in text_of(CHECKOUT / path), f"{path}::{name}"


@pytest.mark.parametrize("stream", READ)
def test_the_records_shown_load_and_the_least_ones_have_nothing_to_spare(stream):
    decoder = READ[stream](None)
    least, *fuller = [block.strip() for block in blocks(README, f"json {stream}")]
    assert fuller
    for record in (least, *fuller):
        decoded = decoder.decode(record.encode())
        assert (len(decoded.rows), list(decoded.refused)) == (1, [])
    told = json.loads(least)
    for key in told:
        without = {name: value for name, value in told.items() if name != key}
        assert decoder.decode(json.dumps(without).encode()).refused, f"{stream} loads without {key}"


def test_the_example_model_has_the_contract_shown():
    (sql,) = blocks(README, "sql model")
    (contract,) = blocks(README, "yaml")
    (model,) = yaml.safe_load(contract)["models"]
    assert model["name"] not in models()
    selected = re.findall(r"^    (?:.* as )?(\w+),?$", sql.rpartition("\nselect\n")[2], re.MULTILINE)
    assert [column["name"] for column in model["columns"]] == selected
    (kind,) = re.findall(r"\['(\w+\.\w+)'\]", sql)
    emitter, _, column = kind.partition(".")
    assert emitter in re.findall(r"ref\('(\w+)'\)", sql)
    assert column in re.search(r"'emits': \[([^]]*)\]", models()[emitter])[1]


@pytest.mark.parametrize("seed", ["metrics", "anomaly_rules", "suppressed_periods"])
def test_the_page_on_anomalies_tells_every_column_of_its_seeds(seed):
    header = text_of(CHECKOUT / "seeds" / f"{seed}.csv").splitlines()[0].split(",")
    page = CHECKOUT / "docs" / "anomalies.md"
    heading = next(name for name in re.findall(r"^## (.+)$", text_of(page), re.MULTILINE) if f"{seed}.csv" in name)
    assert set(header) <= named_in(first_cells(section(page, heading)))
    lines = [block.strip().split(",") for block in blocks(page, "text") if "," in block]
    assert len(header) in map(len, lines)


@pytest.mark.parametrize("seed", ["alert_routes", "alert_channels"])
def test_the_page_on_alerts_tells_every_column_of_its_seeds(seed):
    header = text_of(CHECKOUT / "seeds" / f"{seed}.csv").splitlines()[0].split(",")
    page = CHECKOUT / "docs" / "alerts.md"
    heading = next(name for name in re.findall(r"^## (.+)$", text_of(page), re.MULTILINE) if f"{seed}.csv" in name)
    assert set(header) <= named_in(first_cells(section(page, heading)))


def test_the_limits_told_are_the_codes():
    lines, reading = (importlib.import_module(f"ingest.{name}") for name in ("streams.lines", "reading"))
    page = text_of(CHECKOUT / "docs" / "loading.md")
    for said, value in (
        (r"over (\d+) MiB \(", lines.LARGEST_RECORD >> 20),
        (r"first (\d+) KiB", reading.KEPT_OF_OVERLONG >> 10),
        (r"nesting over (\d+) levels", lines.DEEPEST_NESTING),
        (r"over ([\d,]+) keys", lines.MOST_KEYS),
        (r"array over (\d+) MiB", reading.LARGEST_DOCUMENT >> 20),
    ):
        assert int(re.search(said, page)[1].replace(",", "")) == value
