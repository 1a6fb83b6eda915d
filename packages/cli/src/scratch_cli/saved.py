"""A run as somebody finds it later: its plan, and its tokenizer, model and adapter, verified and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli.build import resolve_device
from scratch_cli.errors import UsageError
from scratch_cli.plan import Plan, make_plan
from scratch_cli.rundir import RunDirectory, open_run, resume_command

if TYPE_CHECKING:
    from scratch_cli.registry import Registry


@dataclass(frozen=True)
class SavedRun:
    """An existing run directory and the plan in it."""

    directory: RunDirectory
    plan: Plan

    def require_finished(self, purpose: str) -> None:
        """Raises UsageError, with the command that finishes the run."""
        if not self.directory.finished:
            raise UsageError(
                f"{self.directory.path}: is not finished, so there is no model to {purpose}; "
                f"finish it first: {resume_command(self.directory.path)}"
            )

    def device(self, wanted: str | None = None) -> str:
        """The device to use: the one that is wanted, else the run's. Raises UsageError if there is no such device."""
        self.plan.model.part.load()  # brings torch, if the model is made of it
        return resolve_device(wanted or self.plan.run.device)

    def tokenizer(self) -> Any:
        """Raises CheckpointError if its files are not the ones that the run saved."""
        self.directory.verify("tokenizer")
        return self.plan.tokenizer.part.load().load(self.directory.tokenizer)

    def base_model(self) -> Any:
        """The model without its adapter, on the CPU. Raises CheckpointError like `tokenizer`."""
        self.directory.verify("model")
        return self.plan.model.part.load().load(self.directory.model)

    def attach_adapter(self, model: Any) -> Any:
        """Load the run's adapter and attach it to its base model; None if the run has none."""
        if self.plan.adapter is None:
            return None
        self.directory.verify("adapter")
        adapter = self.plan.adapter.part.load().load(self.directory.adapter)
        adapter.wrap(model)
        return adapter

    def merged_model(self) -> Any:
        """A model without any adapter that computes what the run's model with its adapter computes, on the CPU.

        The adapter merges into a wrapped copy; its weights are then copied into a model that was never wrapped, since
        adapters have no way of being taken off. Raises UsageError if the two do not compute the same.
        """
        model = self.base_model()
        if self.plan.adapter is None:
            return model
        import torch

        wrapped = self.base_model()
        owners = {name: _owner(wrapped, name) for name, _ in wrapped.named_parameters()}
        adapter = self.attach_adapter(wrapped)
        adapter.merge()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                module, attribute = owners[name]
                parameter.copy_(getattr(module, attribute))
            ids = torch.arange(4)[None] % model.vocab_size  # (1, 4)
            training = model.training
            same = torch.allclose(model.eval()(ids), wrapped.eval()(ids), rtol=1e-3, atol=1e-4)
            model.train(training)
        if not same:
            raise UsageError(
                f"{self.directory.path}: its adapter {self.plan.adapter.spelled!r} cannot be folded into the model, "
                "so no run can start from it"
            )
        return model


def _owner(model: Any, name: str) -> tuple[Any, str]:
    """The module that holds a parameter, and the attribute's name. Wrapping moves modules, but keeps them."""
    path, _, attribute = name.rpartition(".")
    return model.get_submodule(path), attribute


def open_saved(path: Path, registry: Registry) -> SavedRun:
    """Raises UsageError if `path` is no run, PluginError or UsageError if a part it uses is not installed any more."""
    directory = open_run(path)
    return SavedRun(directory, make_plan(registry, names={}, toml=directory.toml))
