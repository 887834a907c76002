"""Damage to texts, values and files."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

NASTY = [
    *("", "nan", "inf", "-inf", "1e999", "1_0", "0x1", "9" * 400, "-0", "1,5", "True", "--"),
    *("é", "🙂", "\x00", "\x1b[31m", "\ufeff", "\u202e", "\t", "\r", "\n", "[/red]"),
    *(" ", '"', "'", ",", ";", ":", "(", ")", "@", "#", "%", "?", "*", "\\", "~"),
]
"""What mutations put into text."""

NUMBERS = "0 1 2 3 -1 0.5 1e-9 1e5 1e999 64 1000 99999999999 true none 2x2 0x0".split()  # noqa: SIM905
"""What mutations put in place of numbers and words."""


def damaged(choice: random.Random, file: Path, folder: Path) -> str:
    """The path of a damaged copy of a file, written into a folder."""
    data = file.read_bytes()
    if file.suffix in {".npz", ".safetensors", ".sqlite", ".png"}:
        data = _mutated_bytes(choice, data)
    elif file.suffix == ".json" and choice.random() < 0.8:
        data = json.dumps(_mutated_values(choice, json.loads(data))).encode()
    elif choice.random() < 0.5:
        data = mutated_tokens(choice, data.decode()).encode()
    else:
        text = data.decode()
        for _ in range(choice.randint(1, 3)):
            text = choice.choice([mutated, _mutated_lines, _mutated_cells])(choice, text)
        encoding = choice.choice(["utf-8"] * 8 + ["utf-16", "cp1252"])
        data = text.encode(encoding, errors="replace")
    path = folder / file.name
    path.write_bytes(data)
    return str(path)


def mutated_tokens(choice: random.Random, text: str) -> str:
    """The text with one of its words or numbers replaced by another one, so that its form is kept."""
    tokens = re.split(r"([\w.\-]+)", text)
    places = range(1, len(tokens), 2)
    place = choice.choice([*places[:12], *choice.choices(places, k=4)])
    tokens[place] = choice.choice([*NUMBERS, *NASTY[:12], tokens[choice.choice(places)]])
    return "".join(tokens)


def _mutated_values(choice: random.Random, value: object) -> object:
    """A value of JSON with one of its leaves, or a branch, replaced."""
    if isinstance(value, dict) and value and choice.random() < 0.95:
        key = choice.choice([*value])
        if choice.random() < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        return {**value, key: _mutated_values(choice, value[key])}
    if isinstance(value, list) and value and choice.random() < 0.8:
        place = choice.randrange(len(value))
        return [*value[:place], _mutated_values(choice, value[place]), *value[place + 1 :]]
    return choice.choice([None, True, 0, -1, 1, 3, 1e300, 0.5, "", "x", "nan", [], {}, [1, 2], 10**12])


def mutated(choice: random.Random, text: str) -> str:
    """The text with one to three places overwritten."""
    for _ in range(choice.randint(1, 3)):
        start = choice.randint(0, len(text))
        end = min(len(text), start + choice.choice([0, 0, 1, 1, 2, 5]))
        text = text[:start] + choice.choice([*NASTY, text[start:end] * 2, *"+=.-0123456789x()"]) + text[end:]
    return text


def _mutated_lines(choice: random.Random, text: str) -> str:
    lines = text.split("\n")
    place, other = choice.randrange(len(lines)), choice.randrange(len(lines))
    change = choice.choice(["drop", "twice", "swap", "cut"])
    if change == "drop":
        del lines[place]
    elif change == "twice":
        lines.insert(other, lines[place])
    elif change == "swap":
        lines[place], lines[other] = lines[other], lines[place]
    else:
        del lines[place:]
    return "\n".join(lines)


def _mutated_cells(choice: random.Random, text: str) -> str:
    lines = text.split("\n")
    place = choice.choice([0, choice.randrange(len(lines))])
    cells = lines[place].split(",")
    cells[choice.randrange(len(cells))] = choice.choice(NASTY)
    lines[place] = ",".join(cells)
    joined = "\n".join(lines)
    return joined.replace(",", choice.choice([";", "\t", "|", " "])) if choice.random() < 0.2 else joined


def _mutated_bytes(choice: random.Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(choice.randint(1, 4)):
        if choice.random() < 0.2:
            del found[choice.randrange(len(found)) :]
        if found:
            found[choice.randrange(min(len(found), choice.choice([200, 10**9])))] = choice.randrange(256)
    return bytes(found)
