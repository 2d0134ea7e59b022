"""Writes databases in MaxMind's format (version 2.0 of its public specification), small ones for tests."""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Any

METADATA_START = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)
MAP, UINT16, UINT32, UINT64, ARRAY = 7, 5, 6, 9, 11
EMPTY = None


def control(kind: int, size: int) -> bytes:
    """The control byte of a field, with the second one of an extended kind."""
    assert size < 29 + 256
    extended = bytes([kind - 7]) if kind > 7 else b""
    first = (0 if kind > 7 else kind) << 5
    if size < 29:
        return bytes([first | size]) + extended
    return bytes([first | 29]) + extended + bytes([size - 29])


def encoded(value: Any, integer: int = UINT32) -> bytes:
    """A field of the data section."""
    if isinstance(value, str):
        return control(2, len(value.encode())) + value.encode()
    if isinstance(value, dict):
        pairs = b"".join(encoded(key) + encoded(below) for key, below in value.items())
        return control(MAP, len(value)) + pairs
    if isinstance(value, list):
        return control(ARRAY, len(value)) + b"".join(encoded(below) for below in value)
    size = (value.bit_length() + 7) // 8
    return control(integer, size) + value.to_bytes(size, "big")


def write_mmdb(path: Path, networks: dict[str, Any], *, kind: str = "Test-City", epoch: int = 1_767_225_600) -> Path:
    """A database of IPv4 and IPv6 networks (none within another) and their records."""
    tree: list[list[Any]] = [[EMPTY, EMPTY]]
    data, places = b"", {}
    for network, record in networks.items():
        parsed = ipaddress.ip_network(network)
        bits, length = int(parsed.network_address), parsed.prefixlen
        if parsed.version == 4:
            length += 96
        node = 0
        for depth in range(length - 1):
            side = bits >> (127 - depth) & 1
            if tree[node][side] is EMPTY:
                tree.append([EMPTY, EMPTY])
                tree[node][side] = len(tree) - 1
            node = tree[node][side]
        places[node, bits >> (128 - length) & 1] = len(data)
        data += encoded(record)
    count = len(tree)
    search = b""
    for node, sides in enumerate(tree):
        for side in (0, 1):
            place = places.get((node, side))
            below = count if sides[side] is EMPTY else sides[side]
            search += struct.pack(">I", below if place is None else count + len(SEPARATOR) + place)
    sized = {"node_count": (count, UINT32), "record_size": (32, UINT16), "ip_version": (6, UINT16)}
    sized |= {"binary_format_major_version": (2, UINT16), "binary_format_minor_version": (0, UINT16)}
    sized |= {"build_epoch": (epoch, UINT64)}
    told = {"database_type": kind, "languages": ["en"], "description": {"en": "made by a test"}}
    about = control(MAP, len(sized) + len(told))
    about += b"".join(encoded(key) + encoded(value, integer) for key, (value, integer) in sized.items())
    about += b"".join(encoded(key) + encoded(value) for key, value in told.items())
    path.write_bytes(search + SEPARATOR + data + METADATA_START + about)
    return path


def place(country: str, city: str | None = None) -> dict[str, Any]:
    """A record as MaxMind's City and Country databases lay it out."""
    record: dict[str, Any] = {"country": {"iso_code": country, "names": {"en": "a country"}}}
    return record | ({"city": {"names": {"de": "anders", "en": city}}} if city else {})
