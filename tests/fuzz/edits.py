"""Edits of one file of an artefact: of its values, its bytes, its tensors, or of the file as such."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Edit = Callable[[Path, random.Random], str]
"""Changes a file and says how."""

_DEEP = 20_000
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 64, 9999, 2**31, 2**63, 10**30, -(10**30), 10**400),
    *(0.5, -0.0, 1e30, -1e30, 1e300, 1e-300, 3.0, float("nan"), float("inf"), float("-inf")),
    *("", " ", "a", "tiny", "../..", "/", "/etc/passwd", "~nobody/x", ".", "..", "\0", "a\0b", "\ud800"),
    *("x" * 300, "x" * 100_000, "(a+)+$", "(.*)*x", "[", "all-linear", "\u202e", "é", "回形针", "-1", "1e30"),
    *([], {}, [[]], [None], [1, 2, 3], ["a", "b"], {"a": 1}, {"": {}}, [[1, 2], [3]], list(range(5000))),
    *("base", "model", "told", "intervention", "adapter", "vector", "pool", "LORA", "IA3", "PREFIX_TUNING"),
    *("global", "asap", "ablate", "project", "velma", "nli", "pissa", "eva", "float16"),
)
_RAW = (
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "1" * 5000,
    "[" * _DEEP + "]" * _DEEP,
    '{"a":' * _DEEP + "1" + "}" * _DEEP,
    "[" * _DEEP,
    "1e30",
    "01",
    "'a'",
    '"\x00"',
    '"a": 1',
    "//",
)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every entry of nested tables and lists, as its holder and its key."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(entries):
        yield data, key
        yield from _places(value)


def _scaled(value: Any, rng: random.Random) -> Any:
    """Something near: a number beside it, a text cut, a list longer or shorter."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return rng.choice([value + 1, value - 1, -value, value * 1000, value / 2, float(value), str(value)])
    if isinstance(value, str):
        return rng.choice([value[:-1], value + value, value.upper(), [value], value + "\n", {value: value}])
    if isinstance(value, list):
        return rng.choice([value[:-1], value * 2, value[::-1], [*value, None], {"0": value}])
    return rng.choice(
        [list(value), list(value.items()), {**value, "more": 1}, {k.upper(): value[k] for k in value}]
    )


def edit_table(data: Any, rng: random.Random) -> str:
    """Change one entry of plain data in place."""
    places = list(_places(data))
    if not places:
        return "nothing to edit"
    holder, key = rng.choice(places)
    how = rng.randrange(7)
    if how == 0:
        del holder[key]
        return f"without {key!r}"
    if how == 1 and isinstance(holder, dict):
        holder[str(key) + "s"] = holder.pop(key)
        return f"{key!r} misspelt"
    if how == 2 and isinstance(holder, dict):
        holder[rng.choice(["more", "", "kind", "__class__", "self", "facts"])] = rng.choice(VALUES)
        return "one entry more"
    if how == 3:
        other, place = rng.choice(places)
        taken = copy.deepcopy(other[place])
        holder[key] = taken
        return f"{key!r} is a copy of {place!r}"
    if how == 4:
        holder[key] = _scaled(holder[key], rng)
        return f"{key!r} is a little else"
    holder[key] = rng.choice(VALUES)
    return f"{key!r} is {str(holder[key])[:40]!r}"


def json_values(file: Path, rng: random.Random) -> str:
    """Change entries of a JSON file, or of one line of a JSONL file."""
    lines = file.read_text("utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text("utf-8")]
    at = rng.randrange(len(lines))
    data = json.loads(lines[at])
    said = [edit_table(data, rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    lines[at] = json.dumps(data)
    file.write_text("\n".join(lines), "utf-8")
    return f"{file.name}: {', '.join(said)}"


def json_text(file: Path, rng: random.Random) -> str:
    """Put something into a JSON file that no writer of JSON would write."""
    data = json.loads(
        file.read_text("utf-8").splitlines()[0] if file.suffix == ".jsonl" else file.read_text()
    )
    how = rng.randrange(6)
    if how < 3:
        places = [(h, k) for h, k in _places(data)]
        raw = rng.choice(_RAW)
        if places:
            holder, key = rng.choice(places)
            holder[key] = "@here@"
        text = json.dumps(data).replace('"@here@"', raw) if places else raw
    else:
        whole = json.dumps(data)
        twice = whole[:-1] + ", " + whole[1:] if isinstance(data, dict) and data else whole + whole
        text = (twice, "\ufeff" + whole, rng.choice(_RAW))[how - 3]
    file.write_text(text, "utf-8")
    return f"{file.name}: raw text {how}"


def some_bytes(file: Path, rng: random.Random) -> str:
    """Change bytes of any file."""
    data = bytearray(file.read_bytes())
    size = len(data)
    at, length = rng.randrange(size + 1), rng.choice([1, 2, 8, 100, size])
    how = rng.randrange(8)
    if how == 0:
        data = data[:at]
    elif how == 1:
        data[at:at] = rng.randbytes(length)
    elif how == 2:
        data[at : at + length] = bytes(len(data[at : at + length]))
    elif how == 3:
        del data[at : at + length]
    elif how == 4:
        data = bytearray(
            rng.choice([b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"[]", b"{}", b"\x80\x04N."])
        )
    elif how == 5:
        word = rng.choice([2**64 - 1, 2**63, 2**40, 2**32, 2**31, 1000, 9, 8, 0])
        data[at : at + 8] = word.to_bytes(8, "little")
    elif how == 6:
        data = data * 2
    else:
        for _ in range(rng.choice([1, 4, 32])):
            if data:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))
    return f"{file.name}: bytes {how} at {at}"


_DTYPES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
}


def _split(file: Path) -> tuple[dict[str, Any], bytes]:
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _join(file: Path, header: Any, body: bytes) -> None:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def tensors(file: Path, rng: random.Random) -> str:
    """Change a tensor of a safetensors file so that the file stays one."""
    header, body = _split(file)
    parts = {k: body[slice(*v["data_offsets"])] for k, v in header.items() if k != "__metadata__"}
    name = rng.choice(sorted(parts))
    entry, data = header[name], bytearray(parts[name])
    how = rng.randrange(8)
    if how == 0:
        step = _DTYPES[entry["dtype"]]
        bad = {8: b"\xff" * 8, 4: b"\0\0\xc0\x7f", 2: b"\x80\x7f", 1: b"\xff"}[step]
        at = rng.randrange(max(1, len(data) // step)) * step
        data[at : at + step] = bad
    elif how == 1:
        entry["dtype"] = rng.choice(sorted(_DTYPES))
        data = (data * 8)[: _count(entry) * _DTYPES[entry["dtype"]]]
    elif how == 2:
        entry["shape"] = rng.choice(
            [[], [0], entry["shape"][::-1], [*entry["shape"], 1], [1, *entry["shape"]]]
        )
    elif how == 3:
        entry["shape"] = [max(0, n + rng.choice([-1, 1])) for n in entry["shape"]]
    elif how == 4:
        del header[name], parts[name]
    elif how == 5:
        header[name + "s"], parts[name + "s"] = header.pop(name), parts.pop(name)
        name += "s"
    elif how == 6:
        header["extra"], parts["extra"] = dict(entry), bytes(data)
    else:
        data = bytearray(rng.randbytes(len(data)))
    if name in parts:
        size = _count(header[name]) * _DTYPES[header[name]["dtype"]]
        parts[name] = bytes((data + bytes(size))[:size])
    if "extra" in parts:
        size = _count(header["extra"]) * _DTYPES[header["extra"]["dtype"]]
        parts["extra"] = (parts["extra"] + bytes(size))[:size]
    start = 0
    for key in parts:
        header[key]["data_offsets"] = [start, start + len(parts[key])]
        start += len(parts[key])
    _join(file, header, b"".join(parts.values()))
    return f"{file.name}: tensor {name} {how}"


def _count(entry: dict[str, Any]) -> int:
    count = 1
    for n in entry["shape"]:
        count *= n
    return count


def header(file: Path, rng: random.Random) -> str:
    """Change the header of a safetensors file, whatever becomes of it."""
    found, body = _split(file)
    if "__metadata__" in found and "dipole" in found["__metadata__"] and rng.random() < 0.7:
        meta = json.loads(found["__metadata__"]["dipole"])
        said = edit_table(meta, rng)
        found["__metadata__"]["dipole"] = rng.choice([json.dumps(meta)] * 4 + [rng.choice(_RAW)])
    else:
        said = edit_table(found, rng)
    _join(file, found, body)
    return f"{file.name}: header {said}"


_TOML = (
    *("[[[", "a = ", "claim = 3", "claim = 1e999", "claim = nan", "n = 1979-05-27", "[dipole]", "[[dipole]]"),
    *("claim = [1, 2]", "promts = []", "kind = 'topic'", "[mentions]", "mentions = 3", "x = " + "1" * 5000),
    *("x = " + "[" * _DEEP, "x = " + "[" * _DEEP + "]" * _DEEP, ".".join("a" * 20_000) + " = 1"),
    *(
        "x = " + "{a=" * 3000 + "1" + "}" * 3000,
        "claim = '''",
        "\ufeff",
        "\0",
        '"\\ud800" = 1',
        "claim = true",
    ),
    *(
        "prompts = ['a', 'a']",
        "held_out = [[]]",
        "[" + ".".join("b" * 5000) + "]",
        "x = 0x",
        "= 1",
        "claim.a = 1",
    ),
)


def toml_text(file: Path, rng: random.Random) -> str:
    """Change lines of a TOML file."""
    lines = file.read_text("utf-8").splitlines()
    at, how = rng.randrange(len(lines)), rng.randrange(4)
    line = rng.choice(_TOML)
    if how == 0:
        del lines[at]
    elif how == 1:
        lines[at] = line
    elif how == 2:
        lines.insert(at, line)
    else:
        key, _, value = lines[at].partition("=")
        lines[at] = (
            f"{key}= {rng.choice(['3', 'true', '[]', '{}', '[[1]]', 'inf', value + value, '1979-05-27'])}"
        )
    file.write_text("\n".join(lines), "utf-8", errors="replace")
    return f"{file.name}: line {at} {how} {line[:30]!r}"


def the_file(file: Path, around: Path, rng: random.Random) -> str:
    """Put something else where the file was."""
    how = rng.randrange(9)
    whole = file.read_bytes()
    file.unlink()
    if how == 1:
        file.mkdir()
    elif how == 2:
        (around / file.name).write_bytes(whole)
        file.symlink_to(around / file.name)
    elif how == 3:
        file.symlink_to(file.name)
    elif how == 4:
        os.mkfifo(file)
    elif how == 5:
        file.symlink_to("/dev/zero")
    elif how == 6:
        file.write_bytes(b"")
    elif how == 7:
        file.symlink_to("..")
    elif how == 8:
        other = rng.choice(sorted(p for p in file.parent.iterdir() if p.is_file()) or [around / "other"])
        shutil.copyfile(other, file)
    return f"{file.name}: file {how}"


def edit(folder: Path, around: Path, rng: random.Random) -> str:
    """Change one file of a folder; links may lead to `around`."""

    def replaced(file: Path, rng: random.Random) -> str:
        return the_file(file, around, rng)

    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in ("README.md",))
    files = [p for p in files if "tensorboard" not in p.parts and p.name != ".dipole-run"]
    plain = [p for p in files if p.suffix in (".json", ".jsonl", ".toml")]
    file = rng.choice(plain) if plain and rng.random() < 0.5 else rng.choice(files)
    if file.suffix == ".safetensors":
        choices: list[Edit] = [tensors, tensors, tensors, header, some_bytes, replaced]
    elif file.suffix == ".toml":
        choices = [toml_text, toml_text, toml_text, some_bytes, replaced]
    elif file.suffix in (".json", ".jsonl"):
        choices = [json_values, json_values, json_values, json_values, json_text, some_bytes, replaced]
    else:
        choices = [some_bytes] * 6 + [replaced]
    return rng.choice(choices)(file, rng)
