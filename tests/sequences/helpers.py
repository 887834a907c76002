"""Small texts in files."""

import csv

WORDS = {"good": "fine and lovely", "bad": "dull and long"}


def write_texts(folder, classes=("good", "bad"), count=8, length=1):
    for number in range(count):
        name = classes[number % len(classes)]
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.txt").write_text(f"{number} {WORDS.get(name, name)} " * length)
    return folder


def write_table(path, rows, delimiter=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path
