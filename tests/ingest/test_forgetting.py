"""Where ids are mentioned, and files without the records that mention them."""

import gzip
import json
import re

import pytest
import zstandard

from ingest.forgetting import Mentions, forget_in_file, forget_in_folders, is_distinctive, mentioned_in

ID = "user-anna-77"


@pytest.mark.parametrize("text", ["u_77", "a1b2", "user-anna-77", "anna@example.com", "123456789", "x" * 16])
def test_what_can_be_looked_for_anywhere(text):
    assert is_distinctive(text)


@pytest.mark.parametrize("text", ["7", "u7", "12345678", "admin", "anonymous", "default", ""])
def test_what_is_part_of_everybodys_text(text):
    assert not is_distinctive(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"/users/{ID}/orders", True),
        (f"{ID}", True),
        (f"({ID})", True),
        (f"x{ID}", False),
        (f"{ID}8", False),
        (f"{ID.upper()}", False),
        ('{"id": "7"}', True),
        ('{"id": 7, "n": "77"}', False),
        ("ANNA@Example.com", True),
        ("anna%40example.com", True),
        ("joanna@example.com", False),
        ('{"id": "auth0|12345"}', True),
        ("/u/auth0%7C12345/", True),
        ('{"id": "\\u00fc\\u20ac-12345"}', True),
        ('{"id": "ü€-12345"}', True),
    ],
)
def test_mentions(text, found):
    mentions = Mentions([ID, "7", "anna@example.com", "auth0|12345", "ü€-12345"])
    assert mentions.in_text(text.encode()) == found


@pytest.mark.parametrize("text", ["a.b*c(1)", "[x-1]", "\\d+1a", "a|b|c1", "$1^2{3}", "it's-1", 'say "1a"', "tab\t12a"])
def test_a_pattern_means_the_same_to_python_and_postgresql(connection, text):
    pattern = Mentions.pattern([text])
    for sought, found in ((f"<{text}>", True), (f"{text}0", False), (f"z{text}" if text[0].isalnum() else "", False)):
        assert bool(re.search(pattern, sought)) == found
        assert connection.execute("select %s ~ %s", [sought, pattern]).fetchone() == (found,)


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    return zstandard.ZstdCompressor().compress(content) if name.endswith(".zst") else content


def unpacked(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.decompress(content)
    return zstandard.ZstdDecompressor().decompressobj().decompress(content) if name.endswith(".zst") else content


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst"])
def test_lines_go_and_the_others_stay_byte_for_byte(tmp_path, name):
    path = tmp_path / name
    lines = [b'{"userId": "user-anna-77"}', b'{"n": 2.50,  "x": "\xff"}', b"no JSON", b'{"to": "user-anna-77"', b""]
    path.write_bytes(packed(name, b"\r\n".join(lines)))
    path.chmod(0o640)
    assert forget_in_file(path, Mentions([ID])) == "changed"
    assert unpacked(name, path.read_bytes()) == b"\r\n".join([lines[1], lines[2], b""])
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("indent", [None, 2])
def test_elements_of_an_array_go_and_numbers_keep_their_digits(tmp_path, indent):
    path = tmp_path / "a.json"
    text = json.dumps([{"userId": ID}, {"n": "NUMBER"}], indent=indent).replace('"NUMBER"', "12345678901234567890.1000")
    path.write_text(text)
    assert forget_in_file(path, Mentions([ID])) == "changed"
    assert path.read_text() == '[{"n":12345678901234567890.1000}]\n'


def test_what_cannot_be_taken_apart_goes_whole(tmp_path):
    contents = {
        "document.json": json.dumps({"userId": ID}, indent=1).encode(),
        "line.ndjson": json.dumps({"userId": ID}).encode(),
        "broken.json": b'[{"userId": "user-anna-77"}, ',
        "broken.ndjson.gz": gzip.compress(b"x" * 1000)[:-9],
        f"{ID}.ndjson": b'{"userId": "other"}\n',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "other.ndjson").write_bytes(b'{"userId": "other"}\n')
    assert forget_in_folders([tmp_path, tmp_path / "missing"], Mentions([ID])) == (0, len(contents))
    assert [one.name for one in tmp_path.iterdir()] == ["other.ndjson"]
    assert not mentioned_in(tmp_path / "other.ndjson", Mentions([ID]))


def test_links_are_not_followed(tmp_path):
    target = tmp_path / "elsewhere.ndjson"
    target.write_text(json.dumps({"userId": ID}))
    folder = tmp_path / "done"
    folder.mkdir()
    (folder / "a.ndjson").symlink_to(target)
    assert forget_in_folders([folder], Mentions([ID])) == (0, 0)
    assert target.exists()
