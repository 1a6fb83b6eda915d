"""Prompts that leave a model no room to answer: left out where that is asked for, and said so."""

from __future__ import annotations

import copy
import warnings

from align_scratch.errors import DoesNotFit
from align_scratch.rollouts import Prompts

_SHOWN = 40  # characters of a prompt that a warning quotes


def with_room(prompts: Prompts, room: int, what: str) -> Prompts:
    """Those of `prompts` that have at most `room` tokens; a warning counts the others and names the first of them.

    what: "training" or "held-out", for messages. Raises DoesNotFit if none is left.
    """
    kept = [row for row, ids in enumerate(prompts.ids) if len(ids) <= room]
    if len(kept) == len(prompts):
        return prompts
    total, left_out = len(prompts), len(prompts) - len(kept)
    if not kept:
        raise DoesNotFit(
            f"task: none of {total} {what} prompts leaves room for a completion: only {max(room, 0)} tokens remain for "
            "a prompt; set max_new_tokens lower, or enlarge the model's context"
        )
    first = next(row for row, ids in enumerate(prompts.ids) if len(ids) > room)
    prompt = prompts.examples[first].prompt
    shown = repr(prompt[:_SHOWN]) + ("..." if len(prompt) > _SHOWN else "")
    warnings.warn(
        f"task: left out {left_out} of {total} {what} prompts, which have more than {room} tokens and leave no room "
        f"for a completion; the first is example {first + 1}, {shown}, of {len(prompts.ids[first])} tokens",
        stacklevel=2,
    )
    few = copy.copy(prompts)
    few.examples, few.ids = prompts.select(kept)
    return few
