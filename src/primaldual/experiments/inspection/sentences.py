"""Texts for models of language: lines of a file, or sentences written for this library."""

from __future__ import annotations

from pathlib import Path

from primaldual.errors import DataError

SENTENCES = (
    "The keys to the old cabinet are on the kitchen table.",
    "My neighbour told her sister that she had won the race.",
    "It rained all night, so the river rose and the bridge was closed.",
    "Nobody in the office knew why the printer had stopped.",
    "Could you pass me the salt, please?",
    "The doctor who treated the twins has moved to Lisbon.",
    "He bought three apples, two pears and a loaf of bread for seven euros.",
    "Although the film was long, I was never bored.",
    "The trophy does not fit into the suitcase because it is too large.",
    "\"I will be back by noon,\" said the captain, but he was not.",
    "Water boils at one hundred degrees at sea level and at less on a mountain.",
    "The service was slow and the soup was cold; we will not go there again.",
    "What surprised the teacher most was how quietly the children worked.",
    "She plays the violin better than anyone else in the orchestra.",
    "The committee has not decided whether to repair the roof or to replace it.",
    "A small brown dog slept under the bench while its owner read the newspaper.",
    "If I had known that you were coming, I would have baked a cake.",
    "The first train leaves at six, the last one shortly before midnight.",
    "This is the best coffee that I have had in years.",
    "The painting that hung above the stairs was sold to a museum in Oslo.",
    "Neither the players nor the coach was happy with the result.",
    "Light travels faster than sound, which is why thunder follows lightning.",
    "They walked along the shore until the lighthouse disappeared in the fog.",
    "Please read the instructions carefully before you open the box.",
    "Her first book was praised by everyone and bought by almost no one.",
    "The bank by the river was flooded, and the bank in town ran out of money.",
    "How many windows does the house at the corner have?",
    "After the storm the farmers found that half of the wheat was lost.",
    "The old clock on the tower is always four minutes late.",
    "We could hear the band long before we saw it.",
    "He promised to write every week and wrote exactly once.",
    "Turn left at the church, cross the square, and ask for the blacksmith.",
)  # fmt: skip
"""Everyday English: agreement over a distance, pronouns, negation, numbers, questions, two meanings of a word."""


def texts(data: str | None, cases: int) -> tuple[list[str], str]:
    """The first texts of a file with one on each line, or of `SENTENCES`; and what they are in words.

    Raises:
        DataError: no such file, no text in it, or not UTF-8.

    Example:
        >>> texts(None, 1)
        (['The keys to the old cabinet are on the kitchen table.'], '1 English sentence that comes with primaldual')
    """
    if data is None:
        chosen = list(SENTENCES[:cases])
        some = "sentence that comes" if len(chosen) == 1 else "sentences that come"
        return chosen, f"{len(chosen)} English {some} with primaldual"
    path = Path(data).expanduser()
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise DataError(f"file {path} is not UTF-8 text; a text on each line is accepted") from None
    except OSError as error:
        raise DataError(
            f"file {path} cannot be read ({error.strerror}); a text file with a text on each line is accepted"
        ) from None
    found = [line for line in lines if line]
    if not found:
        raise DataError(f"file {path} holds no text")
    return found[:cases], f"the first {min(cases, len(found))} of {len(found)} lines of {path.name}"
