"""Task `countdown`: reach a target from numbers with + - * / and brackets. A problem has many right answers.

The demonstration is one of them. What a model writes is read by an own parser over exact fractions
(`rewards/arithmetic.py`) and never run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import factorial

from align_scratch.config.drawn_tasks import CountdownConfig
from align_scratch.rewards.arithmetic import TooLarge, Undefined, Unreadable, evaluate
from align_scratch.tasks.problems import (
    PERFECT,
    SPLITS,
    Example,
    ProblemTask,
    Score,
    complete,
    distinct,
    is_held_out,
)

_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2}
_GIVE_UP = 2000  # draws in a row that bring nothing new: what is left of a small space is not worth the search
_SHOWN = 60


class Countdown(ProblemTask):
    """`3 , 1 2 , 5 : 4 1 =` -> ` 3 * 1 2 + 5`. Numbers are written digit by digit, and so is the answer."""

    lesson = PERFECT

    def __init__(self, config: CountdownConfig) -> None:
        self.config = config
        self.partial = config.partial
        self._examples = complete(self._draw())

    def _draw(self) -> Mapping[str, Sequence[Example]]:
        config = self.config
        k = config.numbers
        space = config.largest**k * 4 ** (k - 1) * factorial(k - 1)
        sides: dict[str, list[Example]] = {side: [] for side in SPLITS}
        room = {"train": config.n_train, "held_out": config.n_held_out}
        seen: set[str] = set()
        fruitless = 0
        for number in distinct(space, 4 * (config.n_train + 8 * config.n_held_out), config.seed):
            fruitless += 1
            found = self._problem(number)
            if found is not None:
                identity, example = found
                side = "held_out" if is_held_out(identity) else "train"
                if identity not in seen and len(sides[side]) < room[side]:
                    seen.add(identity)
                    sides[side].append(example)
                    fruitless = 0
            if fruitless >= _GIVE_UP or all(len(sides[name]) >= room[name] for name in SPLITS):
                break
        return sides

    def _problem(self, number: int) -> tuple[str, Example] | None:
        """Problem `number`, or None where its expression leaves the positive whole numbers or misses the range.

        Its identity is the target and the numbers in order: the same numbers in another order are the same problem.
        """
        numbers = []
        for _ in range(self.config.numbers):
            number, one = divmod(number, self.config.largest)
            numbers.append(one + 1)
        built = _expression(numbers, number)
        if built is None or not built[0] <= self.config.target:
            return None
        target, text, _, _ = built
        given = [str(one) for one in numbers]
        prompt = f"{' , '.join(' '.join(one) for one in given)} : {' '.join(str(target))} ="
        return f"{sorted(numbers)} {target}", Example(prompt, text, text)

    def check(self, example: Example, completion: str, /) -> Score:
        """Any expression counts that uses the numbers as asked and gives the target; `partial` pays for the former."""
        given, target = _read_prompt(example.prompt)
        try:
            tokens, places = _read(completion, longest=4 * len(example.prompt) + 64)
            self._check_use(tokens, given)
            value = evaluate(tokens, places)
        except (Unreadable, TooLarge) as error:
            return Score(0.0, False, {"exact": 0.0, "numbers": 0.0}, str(error))
        except Undefined:
            return Score(self.partial, False, {"exact": 0.0, "numbers": 1.0}, "divides by zero")
        if value == target:
            return Score(1.0, True, {"exact": 1.0, "numbers": 1.0})
        text = " ".join(completion.split())
        shown = text[:_SHOWN] + ("..." if len(text) > _SHOWN else "")
        why = f"{shown} = {value}, expected {target}"
        return Score(self.partial, False, {"exact": 0.0, "numbers": 1.0}, why)

    def _check_use(self, tokens: Sequence[Fraction | str], given: Sequence[int]) -> None:
        used = Counter(int(token) for token in tokens if isinstance(token, Fraction))
        allowed = Counter(given)
        for number, times in used.items():
            if times > allowed[number]:
                if not allowed[number]:
                    raise Unreadable(f"uses {_short(number)}, which is not given")
                raise Unreadable(f"uses {number} more often than it is given: {times} times, not {allowed[number]}")
        if self.config.use == "all" and (left := sorted((allowed - used).elements())):
            raise Unreadable(f"leaves {', '.join(map(str, left))} unused")


def _expression(numbers: Sequence[int], choices: int) -> tuple[int, str, int, int] | None:
    """Value, text, precedence and what is left of `choices`, which say how the numbers are joined, in their order."""
    if len(numbers) == 1:
        return numbers[0], " " + " ".join(str(numbers[0])), 3, choices
    choices, operator = divmod(choices, 4)
    choices, split = divmod(choices, len(numbers) - 1)
    left = _expression(numbers[: split + 1], choices)
    if left is None:
        return None
    right = _expression(numbers[split + 1 :], left[3])
    if right is None:
        return None
    a, b, sign = left[0], right[0], "+-*/"[operator]
    if (sign == "-" and a <= b) or (sign == "/" and a % b):
        return None
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
    rank = _PRECEDENCE[sign]
    left_text = left[1] if left[2] >= rank else f" ({left[1]} )"
    right_text = right[1] if right[2] > rank or (right[2] == rank and sign in "+*") else f" ({right[1]} )"
    return value, f"{left_text} {sign}{right_text}", rank, right[3]


def _read_prompt(prompt: str) -> tuple[list[int], int]:
    given, _, target = prompt.replace(" ", "").removesuffix("=").partition(":")
    return [int(number) for number in given.split(",")], int(target)


def _read(completion: str, *, longest: int) -> tuple[list[Fraction | str], list[int]]:
    """The tokens of an expression with its symbols between single spaces, and where each of them, and the end, stands.

    Raises Unreadable naming the symbol.
    """
    text = completion.strip()
    if not text:
        raise Unreadable("nothing there, expected an expression")
    items = text[:longest].split(" ")
    tokens: list[Fraction | str] = []
    places: list[int] = []
    digits = ""
    for place, item in enumerate([*items, ""], start=1):
        if len(item) == 1 and item in "0123456789":
            digits += item
            continue
        if digits:
            if digits[0] == "0":
                raise Unreadable(f"symbol {place - len(digits)}: the number {_short(digits)} is not given")
            tokens.append(_whole(digits))
            places.append(place - len(digits))
            digits = ""
        if place > len(items):
            break
        if len(item) != 1 or item not in "+-*/()":
            shown = repr(item[:40]) + ("..." if len(item) > 40 else "")
            raise Unreadable(f"symbol {place}: got {shown}, expected one digit, operator or bracket between spaces")
        if item in "+-*/" and (not tokens or tokens[-1] in ("+", "-", "*", "/", "(")):
            raise Unreadable(f"symbol {place}: got {item!r}, expected a number or '('")
        tokens.append(item)
        places.append(place)
    if len(text) > longest:
        raise Unreadable(f"the expression goes on behind {longest} characters")
    return tokens, [*places, len(items) + 1]


def _whole(digits: str) -> Fraction:
    if len(digits) > 100:
        raise Unreadable(f"a number of {len(digits)} digits is not given")
    return Fraction(int(digits))


def _short(number: int | str) -> str:
    text = str(number)
    return text if len(text) <= 40 else text[:40] + "..."
