"""Asking a task for something that not every task has, so that its own words are heard where it has not."""

from __future__ import annotations

from typing import Any

from align_scratch.errors import DataError, DoesNotFit


def ask(task: Any, name: str, otherwise: str) -> Any:
    """The task's method `name`.

    Raises the DataError by which a task made of data says which fields are missing, and DoesNotFit with the words
    `otherwise` for a task that never has it.
    """
    try:
        return getattr(task, name)
    except DataError:
        raise
    except AttributeError as error:
        raise DoesNotFit(otherwise) from error
