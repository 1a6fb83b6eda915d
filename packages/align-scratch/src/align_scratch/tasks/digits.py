"""How problems of arithmetic write numbers: digit by digit, and in the forms that make sums easier to learn.

Written plainly, a digit's place depends on how long the numbers are, and the first digit of an answer waits for carries
from all that follow. Zeros in front give every place a position of its own; an answer from its least digit on needs,
for each digit, two digits and one carry (Lee et al. 2023, "Teaching arithmetic to small transformers", section 3,
arXiv:2307.03381).
"""

from __future__ import annotations


def spell(number: str, *, width: int = 1, reverse: bool = False) -> str:
    """`38` -> `3 8`; of width 3 `0 3 8`; reversed `8 3`. A sign stays in front: `-38` -> `- 8 3`."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    digits = digits.zfill(width)
    return " ".join(sign + (digits[::-1] if reverse else digits))
