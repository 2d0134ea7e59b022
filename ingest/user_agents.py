"""What a user agent tells: device, browser, operating system, and whether a person sat behind it.

The library's compiled matcher reads a string in time linear in its length, whatever the string; its matcher in
plain Python takes forty times as long and has no such bound.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

from ingest.errors import TidemarkError

SEEDS = Path(__file__).resolve().parent.parent / "seeds"
LONGEST_READ = 1000
TOLD_BY = ("user_agent", "os_name")
DEVICE_TYPES = ("desktop", "mobile", "tablet", "other")


@dataclass(frozen=True)
class Agent:
    """What one user agent tells. `device_type` is desktop, mobile, tablet, other or bot; None is: not told."""

    device_type: str | None = None
    device_brand: str | None = None
    browser_name: str | None = None
    browser_version: str | None = None
    os_name: str | None = None
    os_version: str | None = None
    is_bot: bool = False


class AgentReader:
    """Reads user agents by the library's rules and the seeds `device_rules` and `bot_agents`.

    `version` names those rules: two readers of one version tell the same of every string.

    Raises:
        TidemarkError: a seed is missing or holds what it may not.
    """

    def __init__(self, seeds: Path = SEEDS) -> None:
        from ua_parser import Parser
        from ua_parser.loaders import load_builtins
        from ua_parser.regex import Resolver

        self.device_rules = read_device_rules(seeds / "device_rules.csv")
        self.bot_words = read_bot_words(seeds / "bot_agents.csv")
        self.parser = Parser(Resolver(load_builtins()))
        rules = hashlib.sha256(repr((self.device_rules, self.bot_words)).encode()).hexdigest()[:8]
        self.version = f"ua-parser-builtins {version('ua-parser-builtins')}, seeds {rules}"

    def read(self, user_agent: str) -> Agent:
        """What the first 1,000 characters of a user agent tell."""
        user_agent = user_agent[:LONGEST_READ]
        parsed = self.parser.parse(user_agent)
        browser, system, device = parsed.user_agent, parsed.os, parsed.device
        os_name = system.family if system else None
        is_bot = self.is_bot(user_agent, device.family if device else None)
        return Agent(
            device_type="bot" if is_bot else self.device_type(user_agent, os_name),
            device_brand=device.brand if device and not is_bot else None,
            browser_name=browser.family if browser else None,
            browser_version=dotted(browser.major, browser.minor, browser.patch, browser.patch_minor)
            if browser
            else None,
            os_name=os_name,
            os_version=dotted(system.major, system.minor, system.patch, system.patch_minor) if system else None,
            is_bot=is_bot,
        )

    def is_bot(self, user_agent: str, device_family: str | None) -> bool:
        """By the longest word of the seed that stands in the user agent, else by the library."""
        lowered = user_agent.lower()
        return next((is_bot for word, is_bot in self.bot_words if word in lowered), device_family == "Spider")

    def device_type(self, user_agent: str, os_name: str | None) -> str | None:
        """By the first rule of the seed that fits."""
        told = {"user_agent": user_agent.lower(), "os_name": (os_name or "").lower()}
        return next(
            (device for told_by, pattern, device in self.device_rules if fnmatchcase(told[told_by], pattern)), None
        )


def dotted(*parts: str | None) -> str | None:
    """A version from its parts, up to the first that is not known."""
    known = []
    for part in parts:
        if part is None:
            break
        known.append(part)
    return ".".join(known) or None


def read_device_rules(seed: Path) -> tuple[tuple[str, str, str], ...]:
    """The seed's rules in order: (what is looked at, pattern in lower case, device type).

    Raises:
        TidemarkError: the seed is missing, or names a field or a device type that is none.
    """
    rows = read_seed(seed, ("rule_order", "told_by", "pattern", "device_type"))
    for order, told_by, _, device_type in rows:
        if not order.isdecimal():
            raise TidemarkError(f"{seed}: rule_order is a whole number, not {order!r}")
        if told_by not in TOLD_BY or device_type not in DEVICE_TYPES:
            raise TidemarkError(
                f"{seed}: the rule {told_by!r}, {device_type!r}: told_by is one of {', '.join(TOLD_BY)}, "
                f"device_type one of {', '.join(DEVICE_TYPES)}"
            )
    rows.sort(key=lambda row: int(row[0]))
    return tuple((told_by, pattern.lower(), device_type) for _, told_by, pattern, device_type in rows)


def read_bot_words(seed: Path) -> tuple[tuple[str, bool], ...]:
    """The seed's words in lower case with what they mean, the longest first.

    Raises:
        TidemarkError: the seed is missing, a word is empty or `is_bot` is neither true nor false.
    """
    rows = read_seed(seed, ("agent_word", "is_bot"))
    for word, is_bot in rows:
        if not word.strip() or is_bot not in ("true", "false"):
            raise TidemarkError(f"{seed}: {word!r}, {is_bot!r}: give a word, and true or false")
    words = ((word.lower(), is_bot == "true") for word, is_bot in rows)
    return tuple(sorted(words, key=lambda row: (-len(row[0]), row[0])))


def read_seed(seed: Path, columns: Iterable[str]) -> list[tuple[str, ...]]:
    """Those columns of a seed's rows.

    Raises:
        TidemarkError: the file or a column is not there.
    """
    try:
        with seed.open(newline="", encoding="utf-8") as file:
            return [tuple(row[column] or "" for column in columns) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise TidemarkError(f"cannot read the rules in {seed}: {error!r}") from None
