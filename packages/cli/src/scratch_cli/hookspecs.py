"""The hooks that a package implements to offer parts. A package needs only pluggy:

    import pluggy

    hookimpl = pluggy.HookimplMarker("scratch")

    @hookimpl
    def register_models(register):
        register("gpt", "gpt_scratch.model:GPT", config="gpt_scratch.config:GPTConfig", summary="...", smoke={...})

and an entry point in the group `scratch`, named like the distribution, whose value is `<import name>.plugin`.
Each hook receives a `register` callable (`scratch_cli.registration.Register`); what is registered is a name and import
strings, resolved at first use, so a plugin module imports nothing but pluggy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from scratch_cli.registration import Register, RegisterOffer

PROJECT = "scratch"
hookspec = pluggy.HookspecMarker(PROJECT)


@hookspec
def register_tokenizers(register: Register) -> None:
    """Offer tokenizers: text <-> ids."""


@hookspec
def register_models(register: Register) -> None:
    """Offer models: ids -> logits."""


@hookspec
def register_samplers(register: Register) -> None:
    """Offer samplers: logits -> the next id."""


@hookspec
def register_trainers(register: Register) -> None:
    """Offer trainers: algorithms that change a model."""


@hookspec
def register_adapters(register: Register) -> None:
    """Offer adapters: small trainable changes to a model's linear layers."""


@hookspec
def register_tasks(register: Register) -> None:
    """Offer tasks: texts, examples and checkers to learn from."""


@hookspec
def register_commands(register: RegisterOffer) -> None:
    """Offer sub-commands of `scratch`: click commands, resolved when they are called."""


@hookspec
def register_proofs(register: RegisterOffer) -> None:
    """Offer proofs of the package's claims: `scratch doctor --verify` runs them on the user's machine."""


@hookspec
def register_ablations(register: RegisterOffer) -> None:
    """Offer ready files for `scratch ablate`: grids of options, to be run over several seeds."""
