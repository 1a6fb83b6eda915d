"""What can go wrong with an adapter. `exit_code` is what the `scratch` command ends with; it shows one line."""

from __future__ import annotations


class AdapterTargetError(ValueError):
    """The model has no layer that the adapter could change; the message lists what it has."""

    exit_code = 2


class AdapterFileError(ValueError):
    """A saved adapter that is damaged, incomplete, or belongs to another base model."""

    exit_code = 5


class AdapterNotice(UserWarning):
    """Something that a user should know about an adapter and that stops nothing: a rank lowered, numbers in excess."""


class ModelNotFound(FileNotFoundError):
    """A model that is neither a directory here nor to be had from the hub now."""

    exit_code = 4


class ModelFileError(ValueError):
    """Files of a model that are missing or damaged."""

    exit_code = 5


class ModelNotSupported(ValueError):
    """A model that cannot stand behind the contract, or does not fit the tokenizer."""

    exit_code = 2


class PolicyCollapsed(RuntimeError):
    """A policy that has taught itself to fail, in a run that is to end then; the message says what shows it."""

    exit_code = 1
