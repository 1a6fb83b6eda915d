"""Finding the answer in a completion: the last box, the answer block, the last number, the letter of a choice.

Every function takes time linear in a text of any length and looks at nothing but characters.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from string import ascii_uppercase
from typing import TypeVar

Match = TypeVar("Match")

LONGEST_BOX = 4096
"""Characters inside a box; one that is not closed by then is no box."""

_BOX = re.compile(r"\\(?:boxed|fbox)[ ]{0,4}\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX_OR_BRACE = re.compile(rf"{_BOX.pattern}|{_BRACE.pattern}", re.DOTALL)
# A minus right behind a digit is an operator: "10-3" ends in 3. Currency may stand between sign and digits.
_NUMBER = re.compile(
    r"((?<![0-9])[-\u2212])?(?:\\?\$|[\u20ac\u00a3\u00a5])?([0-9][0-9,]*(?:\.[0-9]+)?|(?<![\w.])\.[0-9]+)"
)
_MOST_DIGITS = 1000


def boxes(text: str) -> list[str]:
    """What stands in each `\\boxed{...}` that is not inside another one, braces matched, in order."""
    found: list[str] = []
    at = 0
    while (start := _BOX.search(text, at)) is not None:
        at = min(start.end() + LONGEST_BOX, len(text))
        depth = 1
        for brace in _BRACE.finditer(text, start.end(), at):
            depth += {"{": 1, "}": -1}.get(brace.group(), 0)
            if depth == 0:
                found.append(text[start.end() : brace.start()])
                at = brace.end()
                break
    return found


def without_boxes(text: str) -> str:
    """The same text with what stands in its boxes, but no box: `\\boxed{5}` is 5."""
    kept: list[str] = []
    at = 0
    opened: list[bool] = []  # whether each brace that is open belongs to a box
    for mark in _BOX_OR_BRACE.finditer(text):
        found = mark.group()
        boxed = len(found) > 2 or (found == "}" and bool(opened) and opened.pop())
        if found.endswith("{") and found != "\\{":
            opened.append(boxed)
        if boxed:
            kept.append(text[at : mark.start()])
            at = mark.end()
    return "".join(kept) + text[at:]


def last_box(text: str) -> str | None:
    found = boxes(text)
    return found[-1] if found else None


def answer_block(text: str) -> str | None:
    """What stands in `<answer>...</answer>`, if there is exactly one such block: who lists many answers has none."""
    if text.count("<answer>") != 1 or text.count("</answer>") != 1:
        return None
    start, end = text.index("<answer>") + len("<answer>"), text.index("</answer>")
    return text[start:end] if start <= end else None


def has_r1_zero_form(text: str) -> bool:
    """One `</think> <answer>`, spelled so, and one `</answer>` behind it."""
    return text.count("</think>") == 1 and "</think> <answer>" in text and answer_block(text) is not None


def last_number(text: str) -> Fraction | None:
    """The last number, without thousands commas; None if there is none, or if it has more than 1,000 digits."""
    last = last_match(_NUMBER.finditer(text))
    if last is None:
        return None
    digits = last[2]
    if len(digits) > _MOST_DIGITS:
        return None
    value = Fraction(digits.replace(",", ""))
    return -value if last[1] else value


def marked_number(text: str) -> Fraction | None:
    """The strict reading: the last number in the last box, or on the line after the last `####`; else None."""
    where = last_box(text)
    if where is None:
        _, mark, behind = text.rpartition("####")
        where = behind.strip().partition("\n")[0] if mark else None
    return None if where is None else last_number(where)


def gold(answer: str) -> str:
    """The bare answer of a data set's answer field: after GSM8K's `####`, or in the last box, or all of it."""
    _, mark, behind = answer.rpartition("####")
    if mark:
        return behind.strip()
    return (last_box(answer) or answer).strip()


class Choices:
    """Reads the letter of a multiple choice out of free text. Letters are capital: "a virus" chooses nothing."""

    def __init__(self, letters: str = "ABCD") -> None:
        if not letters or set(letters) - set(ascii_uppercase) or len(set(letters)) < len(letters):
            raise ValueError(f"letters: got {letters!r}, must be different capital letters: they name the choices")
        self.letters = letters
        one = f"([{letters}])(?![A-Za-z0-9'])"
        opened = r"[\s*_:=(\[{$\\]{0,8}(?:(?:text|boxed|textbf|mathrm)\{\(?)?"
        self._said = re.compile(rf"(?i:\banswer)(?:[\s*]{{0,4}}(?i:is|would be))?{opened}{one}")
        self._leading = re.compile(rf"\s*[(\[]?{one}(?:[.):,\]]|\s*$)")
        self._bracketed = re.compile(rf"\({one}\)")
        self._lone = re.compile(rf"(?<![A-Za-z0-9']){one}")

    def read(self, text: str) -> str | None:
        """The letter after the last "answer is", else a leading one, else the last in brackets, else the last lone one.

        None if there is none, or nothing but several letters (who lists them has chosen none): count that apart from a
        wrong choice.
        """
        text = text.strip()
        bare = "".join(filter(str.isalnum, text[:1000]))
        if len(bare) > 1 and not set(bare) - set(self.letters):
            return None
        said = _last(self._said, text)
        if said is None and (leading := self._leading.match(text)) is not None:
            return leading[1]
        return said or _last(self._bracketed, text) or _last(self._lone, text)


def last_match(matches: Iterator[Match]) -> Match | None:
    """The last of many, of which only one is kept at a time."""
    kept = deque(matches, maxlen=1)
    return kept[0] if kept else None


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    last = last_match(pattern.finditer(text))
    return None if last is None else last[1]
