"""Which keys of a record mean which column: the aliases of one stream, in both key styles.

Every name a producer may use becomes an attribute of one struct, so that msgspec finds them in C for the
common case (all keys known, one style), and `Shape.resolve` does the same for any other record. What the
values mean is decided in one place after that, by the stream, whichever way the struct came about.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from ingest.streams.values import exact, is_absent

untyped = msgspec.json.Decoder(float_hook=exact)


def camel(name: str) -> str:
    """`session_id` as `sessionId`."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def merge(properties: dict[str, Any], extra: dict[str, Any], origin: str) -> None:
    """Adds to `properties` what it lacks. A key it has with another value keeps it; the other one is kept
    as `<origin>.<key>`, so that nothing is dropped."""
    for key, value in extra.items():
        if key not in properties:
            properties[key] = value
        elif properties[key] != value:
            properties[f"{origin}.{key}"] = value


class Shape:
    """The names of one stream's record.

    `columns` come first in a struct, in table order, then the aliases by rank, then `others` (attributes the
    stream reads itself). `aliases` maps a column to its further names, best first; `literal` maps keys that
    are no identifiers to an attribute.
    """

    def __init__(
        self,
        name: str,
        columns: Iterable[str],
        aliases: dict[str, tuple[str, ...]],
        others: Iterable[str] = (),
        literal: dict[str, str] | None = None,
    ) -> None:
        self.columns = tuple(columns)
        alias_names = [alias for names in aliases.values() for alias in names]
        self.others = tuple(others)
        self.attributes = (*self.columns, *alias_names, *self.others)
        self.index = {attribute: place for place, attribute in enumerate(self.attributes)}
        self.alias_places = [(self.index[n], self.index[column]) for column, ns in aliases.items() for n in ns]
        self.keys = {camel(attribute): attribute for attribute in self.attributes}
        self.keys |= {attribute: attribute for attribute in self.attributes}
        self.keys |= literal or {}
        fields = [(attribute, Any, None) for attribute in self.attributes]
        self.snake = msgspec.defstruct(f"{name}Snake", fields, forbid_unknown_fields=True, gc=False)
        self.camel = msgspec.defstruct(
            f"{name}Camel", fields, rename=self.spelling(camel), forbid_unknown_fields=True, gc=False
        )
        self.decoders = [
            msgspec.json.Decoder(self.camel, float_hook=exact),
            msgspec.json.Decoder(self.snake, float_hook=exact),
        ]

    def spelling(self, style: Any) -> dict[str, str]:
        """Attribute to key, for `defstruct(rename=...)`."""
        return {attribute: style(attribute) for attribute in self.attributes}

    def columns_of_keys(self) -> dict[str, str]:
        """Which column, or other attribute, each key means."""
        alias_of = {self.attributes[place]: self.attributes[target] for place, target in self.alias_places}
        return {key: alias_of.get(attribute, attribute) for key, attribute in self.keys.items()}

    def decode(self, line: bytes) -> tuple[list[Any], dict[str, Any]]:
        """One record as (values by `index`, unknown keys). Raises msgspec.DecodeError, or Refusal-like
        ValueErrors for text that is not a JSON object."""
        for place, decoder in enumerate(self.decoders):
            try:
                record = decoder.decode(line)
            except msgspec.ValidationError:
                continue
            if place:
                # A file mostly holds one shape: next time try this one first.
                self.decoders.insert(0, self.decoders.pop(place))
            return list(msgspec.structs.astuple(record)), {}
        return self.resolve(untyped.decode(line))

    def resolve(self, record: Any) -> tuple[list[Any], dict[str, Any]]:
        """The same for a decoded record with any mixture of known and unknown keys."""
        if type(record) is not dict:
            raise ValueError("is not a JSON object")
        values: list[Any] = [None] * len(self.attributes)
        unknown: dict[str, Any] = {}
        spelled: dict[int, str] = {}
        for key, value in record.items():
            if value is None:
                continue
            attribute = self.keys.get(key)
            if attribute is None:
                unknown[key] = value
                continue
            place = self.index[attribute]
            other = spelled.get(place)
            if other is not None and not is_absent(values[place]) and not is_absent(value):
                # Told twice, in both styles: the snake_case key wins, whatever the order.
                if key != attribute:
                    if value != values[place]:
                        unknown[key] = value
                    continue
                if value != values[place]:
                    unknown[other] = values[place]
            elif other is not None and is_absent(value):
                continue
            values[place] = value
            spelled[place] = key
        return values, unknown

    def collapse(self, values: list[Any], unknown: dict[str, Any]) -> None:
        """Moves each alias's value to its column, best name first. A further name with another value stays
        among the unknown keys."""
        for place, target in self.alias_places:
            value = values[place]
            if value is None or is_absent(value):
                continue
            if values[target] is None or is_absent(values[target]):
                values[target] = value
            elif value != values[target]:
                unknown[self.attributes[place]] = value
