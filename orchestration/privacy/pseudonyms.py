"""What takes the place of a person's ids and free text: names that say nothing and keep apart what was apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from ingest.forgetting import Digits, Mentions, spellings
from orchestration.privacy.person import Person

# Strings of JSON that models count by; any other is free text. Keys without case, dashes and underscores.
KEPT_KEYS = frozenset((
    "timestamp", "time", "createdat", "updatedat", "model", "modelname", "provider", "currency", "type", "errortype",
    "trigger", "status", "statuscode", "requestid", "messageid", "chatid", "page", "featureid", "feature", "increment",
    "counter", "completedprechatform", "workspaceid", "projectid", "teamid", "orgid", "plan", "plantype",
    "experimentvariant", "featureflag", "userrole", "featurebetaenabled", "accounttype", "subscriptionstatus",
    "industry", "workspaceindustry", "workspacesize", "membercount", "responsetimems", "loadtimems",
    "messagessent", "messagesreceived", "widgetopenedcount", "widgetminimizedcount",
    "source", "medium", "campaign", "conversionvalue",
))  # fmt: skip
# What is below these keys is kept: labels of a cost.
KEPT_BELOW = frozenset(("tags",))
# Objects whose keys are the producer's own.
FREE_OBJECTS = frozenset(("properties", "metadata", "traits"))
# Of a row that closed days keep, the free text; all else of it is what a mart counts.
FREE_KEYS_OF_MARTS = frozenset(("feedback", "errormessage", "pagetitle", "querystring", "message", "name"))
URL_KEYS_OF_MARTS = frozenset(("referrer", "pageurl", "landingpage"))
PLAIN_VALUE = re.compile(
    r"-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)


class Pseudonyms:
    """Names that begin with one random token, one for each text: equal texts get equal names, within one erasure.

    So two things that were different stay different, and everything that is counted comes out as before. What tells
    them apart is a hash with a salt that is forgotten when the erasure is done.
    """

    def __init__(self, token: str, person: Person) -> None:
        self.token = token
        self.person = person
        self.names: dict[str, str] = {}
        self.mentions = Mentions(person.users | person.anonymous | person.emails)
        # Sessions are many and are looked for as whole values alone.
        self.whole = person.ids
        self.of_spelling = {
            spelling.lower() if "@" in one else spelling: one
            for one in self.mentions.distinctive
            for spelling in spellings(one)
        }
        plain = Mentions.pattern(one for one in self.mentions.distinctive if "@" not in one)
        addresses = Mentions.pattern(one for one in self.mentions.distinctive if "@" in one)
        self.patterns = [
            pattern
            for pattern in (re.compile(plain) if plain else None, re.compile(addresses, re.I) if addresses else None)
            if pattern
        ]

    def name(self, text: str) -> str:
        """What stands for a text."""
        name = self.names.get(text)
        if name is None:
            digest = blake2b(text.encode("utf-8", "surrogatepass"), key=self.person.salt.encode(), digest_size=6)
            name = self.names[text] = f"{self.token}-{digest.hexdigest()}"
        return name

    def mentioned(self, text: str) -> str:
        """A text with its mentions of the person replaced."""
        for pattern in self.patterns:
            text = pattern.sub(self._named, text)
        return text

    def _named(self, match: re.Match[str]) -> str:
        found = match[0]
        return self.name(self.of_spelling.get(found) or self.of_spelling[found.lower()])

    def id_of(self, kind: str, value: str) -> str:
        """A column that holds an id of a kind."""
        if value in getattr(self.person, kind):
            return self.name(value)
        return self.mentioned(value)

    def group(self, value: str) -> str:
        """A session group: its kind and an id."""
        if value in self.person.groups:
            return value[:2] + self.name(value[2:])
        return self.mentioned(value)

    def free(self, text: str) -> str:
        """Free text of the person."""
        return text if text == "" or text.startswith(self.token) else self.name(text)

    def url(self, text: str, parameters: frozenset[str]) -> str:
        """A URL or path of the person: without fragment and the parameters that staging takes out as well."""
        bare, mark, rest = text.partition("?")
        bare = bare.partition("#")[0]
        query = rest.partition("#")[0]
        kept = [part for part in re.split("[?&]", query) if part.partition("=")[0] in parameters and "=" in part]
        return self.mentioned(bare + (mark + "&".join(kept) if kept else ""))

    def referrer(self, text: str) -> str:
        """Of where the person came from, the host alone."""
        try:
            parts = urlsplit(text)
        except ValueError:
            return self.free(text)
        if not parts.scheme or not parts.hostname:
            return self.free(text)
        return self.mentioned(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/")

    def json(self, value: Any, own: bool, where: str = "free", *, key: str = "", kept: bool = False) -> Any:
        """A decoded JSON value; `own` when the row is the person's.

        `where` it stands: in what a producer told freely (`free`: properties, metadata, traits), in a list or map of
        known form (`form`), or in a mart's row that closed days keep (`mart`).
        """
        if isinstance(value, Mapping):
            return {
                self._key(name): self.json(
                    one,
                    own,
                    "free" if bare(name) in FREE_OBJECTS else where,
                    key=name,
                    kept=kept or bare(name) in KEPT_BELOW,
                )
                for name, one in value.items()
            }
        if isinstance(value, list):
            return [self.json(one, own, where, key=key, kept=kept) for one in value]
        if isinstance(value, Digits):
            return self.name(value.text) if own and value.text in self.whole else value
        if not isinstance(value, str):
            return value
        if value in self.whole and (own or value in self.mentions.distinctive):
            return self.name(value)
        if value.lower() in self.person.emails:
            return self.name(value.lower())
        return self._text(value, bare(key), where, kept) if own else self.mentioned(value)

    def _text(self, value: str, key: str, where: str, kept: bool) -> str:
        """A string of the person's own JSON."""
        if where == "mart":
            if key in FREE_KEYS_OF_MARTS:
                return self.free(value)
            return self.referrer(value) if key in URL_KEYS_OF_MARTS else self.mentioned(value)
        if kept or key in KEPT_KEYS or (where == "form" and PLAIN_VALUE.fullmatch(value)):
            return self.mentioned(value)
        return self.free(value)

    def _key(self, name: str) -> str:
        return self.name(name) if name in self.whole and name in self.mentions.distinctive else self.mentioned(name)


@lru_cache(maxsize=4096)
def bare(key: str) -> str:
    """A key without its style: `featureId` and `feature_id` are `featureid`."""
    return re.sub(r"[\W_]", "", key).lower()
