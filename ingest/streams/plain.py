"""The usual event, fast: its keys are all known and each tell another column; flat, or in a POST body.

For the keys a file uses msgspec makes a struct, a layout, that checks types and lengths while it decodes. What is
left to do is done for a block of lines at a time. A line that is not plainly such an event is left to
`Events.decode`; a line taken here gets the very rows it would get there, their absent columns not written out.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from ingest.streams import values as v
from ingest.streams.lines import MOST_KEYS, SUSPECT_ESCAPE, Block, check_limits
from ingest.streams.record import PLACE_COLUMNS, SEPARATOR, Taken, content_digests, dashed, escaped
from ingest.streams.shape import untyped
from ingest.streams.values import Converter, exact

NOTHING = frozenset((None, *v.ABSENT))
# A line with fewer bytes than two for each key is within that limit.
LONGEST_LINE = 2 * MOST_KEYS
LONGEST_KEY = 64
MOST_KNOWN_KEYS = 10_000
MOST_LAYOUTS = 8
# Lines looked at for a layout that fits them: so many at once, and so many more with every block.
MOST_LESSONS, LESSONS_PER_BLOCK = 256, 4
# A key with one of these words in it may say that its person is not to be tracked.
ABOUT_CONSENT = re.compile(r"consent|dnt|track", re.IGNORECASE)

MADE_COLUMNS = ("retention_class", "session_group", "content_hash")
GROUPS = (("s:", "session_id"), ("a:", "anonymous_id"), ("u:", "user_id"))
Identifier = Annotated[str, msgspec.Meta(max_length=v.IDENTIFIER_CHARACTERS)]
# Columns of other kinds go through their converter.
TYPES: Mapping[Converter, Any] = {v.identifier: Identifier | None, v.text: str | None}
TIME = datetime | int | None
EARLIEST, LATEST = str(v.FIRST_YEAR), str(v.LAST_YEAR)


class Rules(msgspec.Struct, frozen=True):
    """What makes an event plain. `columns` are those of the content with their converters, the event's id
    first, `properties` left out. `column_of_key` tells which column a key means. A POST body tells all but
    `not_inherited` for its events too. Some names, and some keys of `properties`, mean more than they say:
    their events are not plain."""

    columns: Mapping[str, Converter]
    column_of_key: Mapping[str, str]
    not_inherited: frozenset[str]
    special_names: frozenset[str]
    special_properties: frozenset[str]


class PlainEvents:
    """Takes the plain events out of the lines of one file. `app` is the app of records that name none;
    `classify` gives the retention class of (category, name)."""

    def __init__(self, rules: Rules, app: str | None, classify: Callable[[str, str], str]) -> None:
        self.rules = rules
        self.app = app or ""
        self.classify = classify
        self.layouts: list[Layout | BodyLayout] = []
        self.lessons = MOST_LESSONS
        self.known_keys: set[str] = set()

    def take(self, head: str, block: Block) -> tuple[list[Taken], list[int]]:
        """The plain events of a block as rows, and the places of its other lines, in order. `head` is how
        every row begins."""
        self.lessons = min(self.lessons + LESSONS_PER_BLOCK, MOST_LESSONS)
        has_escapes = b"\\" in block.content
        taken: list[Taken] = []
        odd: list[int] = []
        for layout, places, decoded in self.decoded(block.lines, odd):
            some = block if len(places) == len(block.lines) else part_of(block, places)
            not_plain = odd_lines(some, layout, decoded, has_escapes)
            rows = layout.rows(head, [block.number + place for place in places], decoded, not_plain, has_escapes)
            taken.append(Taken(layout.written, rows))
            odd += [places[index] for index in not_plain]
        return taken, sorted(odd)

    def decoded(
        self, lines: list[bytes], odd: list[int]
    ) -> Iterator[tuple["Layout | BodyLayout", Sequence[int], list[Any]]]:
        """The lines by the layout they fit: their places and what they decode to. The places of lines that
        fit none are added to `odd`."""
        if self.layouts:
            # A file mostly holds one layout: all lines at once.
            layout = self.layouts[0]
            try:
                yield layout, range(len(lines)), list(map(layout.decode, lines))
                return
            except (ValueError, RecursionError):
                pass
        found: dict[Layout | BodyLayout, tuple[list[int], list[Any]]] = {}
        for place, line in enumerate(lines):
            layout, record = self.fitting(line)
            if layout is None:
                odd.append(place)
                continue
            places, records = found.setdefault(layout, ([], []))
            places.append(place)
            records.append(record)
        for layout, (places, records) in found.items():
            yield layout, places, records

    def fitting(self, line: bytes) -> tuple["Layout | BodyLayout | None", Any]:
        """The layout that fits a line, if any, and what the line decodes to. Next time it is tried first."""
        for index, layout in enumerate(self.layouts):
            try:
                record = layout.decode(line)
            except msgspec.ValidationError:
                continue
            except (ValueError, RecursionError):
                return None, None
            if index:
                self.layouts.insert(0, self.layouts.pop(index))
            return layout, record
        return self.fitting(line) if self.learn(line) else (None, None)

    def learn(self, line: bytes) -> bool:
        """Makes or widens a layout for the keys of a line; False when there is nothing to learn from it."""
        if not self.lessons or len(line) > LONGEST_LINE:
            return False
        self.lessons -= 1
        try:
            record = untyped.decode(line)
        except (ValueError, RecursionError):
            return False
        above, keys = self.keys_of(record)
        if not keys or "event_name" not in keys or "occurred_at" not in keys:
            return False
        for layout in self.layouts:
            if (above is None) != (layout.above is None):
                continue
            all_above, all_keys = joined(layout.above, above), joined(layout.keys, keys)
            if all_keys is None or (above is not None and joined(all_above, all_keys) is None):
                continue
            if all_keys == layout.keys and all_above == layout.above:
                return False
            self.layouts.remove(layout)
            self.layouts.insert(0, self.layout(all_above, all_keys))
            return True
        if len(self.layouts) == MOST_LAYOUTS:
            return False
        self.layouts.insert(0, self.layout(above, keys))
        return True

    def layout(self, above: dict[str, str] | None, keys: dict[str, str]) -> "Layout | BodyLayout":
        """The layout of flat events, or with keys `above` them of POST bodies."""
        return Layout(self, keys) if above is None else BodyLayout(self, above, keys)

    def keys_of(self, record: Any) -> tuple[dict[str, str] | None, dict[str, str] | None]:
        """The key that tells each column: in a POST body, or None, and in the event or events. No keys of
        events when a record cannot be plain."""
        if type(record) is not dict:
            return None, None
        if type(record.get("events")) is not list:
            return None, self.columns_told(record)
        above = self.columns_told(record.keys() - {"events"})
        keys: dict[str, str] | None = {}
        for event in record["events"]:
            keys = joined(keys, self.columns_told(event) if type(event) is dict else None)
        if above is None or above.keys() & self.rules.not_inherited or joined(above, keys) is None:
            return None, None
        return above, keys

    def columns_told(self, keys: Iterable[str]) -> dict[str, str] | None:
        """The key that tells each column; None when one key tells none, or one told already."""
        told: dict[str, str] = {}
        for key in keys:
            column = self.rules.column_of_key.get(key)
            if column is None or column in told:
                return None
            told[column] = key
        return told

    def knows(self, keys: Iterable[str]) -> bool:
        """Whether these keys of `properties` mean nothing but themselves."""
        for key in keys:
            if key in self.known_keys:
                continue
            if key in self.rules.special_properties or len(key) > LONGEST_KEY or not is_innocent(key):
                return False
            if len(self.known_keys) == MOST_KNOWN_KEYS:
                return False
            self.known_keys.add(key)
        return True


def joined(some: dict[str, str] | None, more: dict[str, str] | None) -> dict[str, str] | None:
    """The keys of both by column; None when they tell a column by different keys, or there are none."""
    if some is None or more is None or any(some.get(column, key) != key for column, key in more.items()):
        return None
    return {**some, **more}


class Layout:
    """The keys of a kind of event: for each column it may tell, the key that does."""

    above = None

    def __init__(self, plain: PlainEvents, keys: dict[str, str]) -> None:
        self.keys = keys
        self.plain = plain
        columns = plain.rules.columns
        told = [name for name in columns if name in keys]
        types = {name: TYPES.get(columns[name], Any) for name in told} | {"occurred_at": TIME}
        self.converted = [(name, columns[name]) for name in told if types[name] is Any]
        self.fields = [*((name, types[name], None) for name in told), ("properties", dict[str, Any] | None, None)]
        self.event = msgspec.defstruct("PlainEvent", self.fields, rename=keys, forbid_unknown_fields=True, gc=False)
        self.decode = msgspec.json.Decoder(self.event, float_hook=exact).decode
        self.lacks_id = "event_id" not in keys
        lacks_app = bool(plain.app) and "app_id" not in keys
        content = dict.fromkeys(told, "%s") | ({"app_id": plain.app.replace("%", "%%")} if lacks_app else {})
        self.content = SEPARATOR.join((*(content.get(name, "") for name in columns), "%s"))
        needed = ("event_id", "event_name", "occurred_at", *(["app_id"] if plain.app else []))
        self.needed = [told.index(name) for name in needed if name in told]
        self.name = told.index("event_name")
        self.category = told.index("event_category") if "event_category" in told else None
        written = [*(["event_id"] if self.lacks_id else []), *told]
        self.groups = [(prefix, written.index(name)) for prefix, name in GROUPS if name in told]
        self.written = (
            *(*PLACE_COLUMNS, "element", *MADE_COLUMNS, *written, "properties"),
            *(["app_id"] if lacks_app else []),
        )
        self.tail = "\t" + escaped(plain.app) if lacks_app else ""

    def rows(self, head: str, numbers: list[int], events: list[Any], odd: set[int], has_escapes: bool) -> list[str]:
        """The rows of decoded lines in COPY's text format; `numbers` are the lines'. Those at the indexes in
        `odd` give none, nor do those that prove not to be plain: theirs are added."""
        rows = self.rows_of_all(head, numbers, [0] * len(events), events, odd, has_escapes)
        return [row for index, row in enumerate(rows) if index not in odd] if odd else rows

    def brackets(self, events: list[Any]) -> int:
        """How many brackets open in these events, if nothing in their properties is nested."""
        return len(events) + sum([1 for event in events if event.properties is not None])

    def events_in(self, event: Any) -> list[Any]:
        """The events of a decoded line."""
        return [event]

    def rows_of_all(
        self, head: str, numbers: list[int], elements: list[int], events: list[Any], odd: set[int], has_escapes: bool
    ) -> list[str]:
        """One row for each event, whatever stands there for one in `odd`."""
        self.put_texts(events, odd)
        rows = [astuple(event) for event in events]
        rows = [row if NOTHING.isdisjoint(row) else told_only(row) for row in rows]
        for place in self.needed:
            if "" in [row[place] for row in rows]:
                odd.update(index for index, row in enumerate(rows) if not row[place])
        classes = self.classes(rows, odd)
        digests = content_digests([self.content % row for row in rows])
        if self.lacks_id:
            rows = [(dashed(digest), *row) for digest, row in zip(digests, rows, strict=True)]
        if has_escapes:
            rows = [tuple(map(escaped, row)) for row in rows]
        groups, tail = self.session_groups(rows), self.tail
        return [
            f"{head}{number}\t{element}\t{retention_class}\t{group}\t{digest}\t" + "\t".join(row) + tail
            for number, element, retention_class, group, digest, row in zip(
                numbers, elements, classes, groups, digests, rows, strict=True
            )
        ]

    def put_texts(self, events: list[Any], odd: set[int]) -> None:
        """Puts text in place of every other value that is told; indexes of what is not plain go to `odd`."""
        texts = time_texts([event.occurred_at for event in events])
        encode = v.canonical_encoder.encode
        plain = self.plain
        for index, (event, text) in enumerate(zip(events, texts, strict=True)):
            event.occurred_at = text
            properties = event.properties
            if properties and index not in odd:
                event.properties = encode(properties).decode()
                if not plain.known_keys.issuperset(properties) and not plain.knows(properties):
                    odd.add(index)
            else:
                event.properties = "{}"
        for name, convert in self.converted:
            for index, event in enumerate(events):
                try:
                    setattr(event, name, convert(getattr(event, name), name))
                except v.Refusal:
                    setattr(event, name, "")
                    odd.add(index)

    def classes(self, rows: list[tuple[str, ...]], odd: set[int]) -> list[str]:
        """Each row's retention class; the indexes of rows whose names mean more go to `odd`."""
        classify = self.plain.classify
        names = [row[self.name] for row in rows]
        special = self.plain.rules.special_names
        if not special.isdisjoint(names):
            odd.update(index for index, name in enumerate(names) if name in special)
        if self.category is None:
            return [classify("", name) for name in names]
        return [classify(row[self.category], name) for row, name in zip(rows, names, strict=True)]

    def session_groups(self, rows: list[tuple[str, ...]]) -> list[str]:
        """Each row's session group; a row begins with the event's id."""
        if not self.groups:
            return ["e:" + row[0] for row in rows]
        (prefix, place), *further = self.groups
        return [prefix + row[place] if row[place] else further_group(row, further) for row in rows]


class BodyLayout:
    """The keys of a kind of POST body: `above` those the body has, for all its events, and `keys` theirs."""

    def __init__(self, plain: PlainEvents, above: dict[str, str], keys: dict[str, str]) -> None:
        self.above = above
        self.keys = keys
        self.each = Layout(plain, {**above, **keys})
        self.written = self.each.written
        self.converted = frozenset(name for name, _ in self.each.converted)
        fields = [field for field in self.each.fields if field[0] in above]
        body = msgspec.defstruct(
            "PlainBody",
            [("events", list[self.each.event]), *fields],
            rename=above,
            forbid_unknown_fields=True,
            gc=False,
        )
        self.decode = msgspec.json.Decoder(body, float_hook=exact).decode

    def rows(self, head: str, numbers: list[int], bodies: list[Any], odd: set[int], has_escapes: bool) -> list[str]:
        """Like `Layout.rows`, of the events in decoded bodies: of all in a body, or of none."""
        owners: list[int] = []
        events: list[Any] = []
        elements: list[int] = []
        for index, body in enumerate(bodies):
            if not body.events or not self.hand_down(body):
                odd.add(index)
                continue
            owners += [index] * len(body.events)
            events += body.events
            elements += range(1, len(body.events) + 1)
        if not events:
            return []
        odd_events = {place for place, owner in enumerate(owners) if owner in odd}
        own_numbers = [numbers[owner] for owner in owners]
        rows = self.each.rows_of_all(head, own_numbers, elements, events, odd_events, has_escapes)
        odd.update(owners[place] for place in odd_events)
        return [row for row, owner in zip(rows, owners, strict=True) if owner not in odd]

    def hand_down(self, body: Any) -> bool:
        """Gives the events what they lack and the body tells; False when that is not plain to do."""
        for name in self.above:
            told = getattr(body, name)
            if v.is_absent(told):
                continue
            for event in body.events:
                if v.is_absent(getattr(event, name)):
                    setattr(event, name, told)
                elif name in self.converted:
                    # It may yet turn out to mean nothing.
                    return False
        return True

    def brackets(self, bodies: list[Any]) -> int:
        """Like `Layout.brackets`."""
        return 2 * len(bodies) + sum([self.each.brackets(body.events) for body in bodies])

    def events_in(self, body: Any) -> list[Any]:
        """The events of a decoded line."""
        return body.events


def further_group(row: tuple[str, ...], groups: list[tuple[str, int]]) -> str:
    """The session group of a row by the first of `groups` it tells, else by the event's id."""
    for prefix, place in groups:
        if row[place]:
            return prefix + row[place]
    return "e:" + row[0]


def part_of(block: Block, places: Sequence[int]) -> Block:
    """The lines at `places` as if there were no others."""
    lines = [block.lines[place] for place in places]
    return Block(block.number, b"\n".join(lines), lines)


def odd_lines(block: Block, layout: Layout | BodyLayout, decoded: list[Any], has_escapes: bool) -> set[int]:
    """The indexes of lines that need mending, are near a limit or may say something of consent deep inside;
    `decoded` is what `layout` makes of them, `has_escapes` tells whether there may be any."""
    odd: set[int] = set()
    lines = block.lines
    if has_escapes:
        odd.update(index for index, line in enumerate(lines) if SUSPECT_ESCAPE.search(line))
    if max(map(len, lines)) > LONGEST_LINE:
        odd.update(index for index, line in enumerate(lines) if len(line) > LONGEST_LINE)
    brackets = occurrences(block.content, b"{") + occurrences(block.content, b"[")
    if brackets > layout.brackets(decoded):
        # Something is nested, or a text has brackets in it.
        odd.update(
            index for index, line in enumerate(lines) if not is_plain_nest(line, layout.events_in(decoded[index]))
        )
    return odd


def occurrences(text: bytes, character: bytes) -> int:
    """`text.count(character)`, in a third of its time or less."""
    return len(text) - len(text.replace(character, b""))


def told_only(row: tuple[str | None, ...]) -> tuple[str, ...]:
    """A row's texts; of those that mean nothing, none."""
    return tuple(["" if value in NOTHING else value for value in row])


def time_texts(times: list[datetime | int | None]) -> list[str]:
    """What `values.timestamp` makes of each time; the empty string for one that is absent or refused."""
    # Mostly all are in UTC, and are quickest encoded together: ["2026-03-02T12:05:00Z",...]
    together = v.canonical_encoder.encode(times).decode()
    texts = together[2:-3].split('Z","')
    if together.endswith('Z"]') and len(texts) == len(times) and min(texts) >= EARLIEST and max(texts) < LATEST:
        return [text + "+00:00" for text in texts]
    return list(map(time_text, times))


def time_text(time: datetime | int | None) -> str:
    """What `values.timestamp` makes of a time; the empty string for one that is absent or refused."""
    try:
        if type(time) is datetime:
            return v.iso(v.in_utc(time, "", "occurred_at"))
        return v.timestamp(time, "occurred_at")
    except v.Refusal:
        return ""


def is_innocent(key: str) -> bool:
    """Whether a key surely says nothing about consent."""
    return ABOUT_CONSENT.search(key) is None


def is_plain_nest(line: bytes, events: list[Any]) -> bool:
    """Whether a line is within the limits and no key inside its events' properties says anything of consent."""
    try:
        check_limits(line)
    except v.Refusal:
        return False
    return all(all(map(is_innocent_value, event.properties.values())) for event in events if event.properties)


def is_innocent_value(value: Any) -> bool:
    """Whether no key inside a value says anything of consent."""
    if type(value) is dict:
        return all(is_innocent(key) and is_innocent_value(inner) for key, inner in value.items())
    return type(value) is not list or all(map(is_innocent_value, value))
