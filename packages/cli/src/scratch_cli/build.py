"""From a plan to objects, in the order in which a run needs them.

Task, tokenizer (trained on the task's text), model (seeded), sampler, adapter, trainer. Saved parts lie in directories
of the run, with their hashes in run.toml. Torch is imported by the parts; the host only uses it once it is there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scratch_cli import durable
from scratch_cli.errors import CheckpointError, UsageError
from scratch_cli.rundir import RunDirectory, config_hash, data_hash, used_runs

if TYPE_CHECKING:
    from scratch_cli.plan import Chosen, Plan
    from scratch_cli.saved import SavedRun

SMALL_MODEL = 2_000_000
"""Parameters below which one thread is faster than several, and gives the same bits everywhere."""


def resolve_device(name: str) -> str:
    """`auto` as the device to use, others as they are; `auto` is the CPU as long as no part has imported torch.

    CUDA is asked for only if told to. Raises UsageError, saying what there is, for a device that this machine or this
    torch does not have.
    """
    if name == "cpu" or (name == "auto" and "torch" not in sys.modules):
        return "cpu"
    import torch

    there = ["cpu"]
    if name in ("auto", "cuda") and torch.cuda.is_available():
        there.append("cuda")
    if name in ("auto", "mps") and torch.backends.mps.is_available():
        there.append("mps")
    if name == "auto":
        return there[1] if len(there) > 1 else "cpu"
    if name not in there:
        build = f"torch {torch.__version__} sees no {name} device here"
        raise UsageError(
            f"run.device: got {name!r}, but {build}; use --device cpu, or --device auto to take what is there"
        )
    return name


def seed_everything(seed: int) -> None:
    """Seed torch's global generators, if torch is in use. Parts draw from generators of their own besides."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed % 2**63)


def count_parameters(model: Any, *, trainable: bool = False) -> int | None:
    """How many numbers the model holds, or how many of them are trained; None if it is no torch module."""
    parameters = getattr(model, "parameters", None)
    if not callable(parameters):
        return None
    return sum(int(parameter.numel()) for parameter in parameters() if parameter.requires_grad or not trainable)


def set_threads(threads: int, model: Any) -> None:
    """As many CPU threads as told; 0 is one for a small model, else OMP_NUM_THREADS or, without that, all cores."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if threads == 0:
        small = (count_parameters(model) or 0) < SMALL_MODEL
        told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # it may be a list, one for each level
        threads = 1 if small else int(told) if told.isdecimal() and int(told) else (os.cpu_count() or 1)
    torch.set_num_threads(threads)


@dataclass
class Workshop:
    """Builds the parts of one run and saves them in its directory. `base` is the run to start from, if any."""

    plan: Plan
    directory: RunDirectory
    device: str
    base: SavedRun | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hashes["config"] = config_hash(self.plan)
        data = data_hash(self.plan)
        if data is not None:
            self.hashes["data"] = data
        self.hashes |= used_runs(self.plan)

    def record(self) -> None:
        """Write run.toml with what is known now."""
        self.directory.record(self.plan, self.hashes)

    def sampler(self) -> Any:
        return build(self.plan.sampler)

    # --- tokenizer

    def new_tokenizer(self, task: Any) -> Any:
        """Trained on the task's text, or the one of the run to start from; saved in this run's directory."""
        if self.base is not None:
            tokenizer = self.base.tokenizer()
        else:
            texts = task.texts("train") if task is not None else ()
            tokenizer = self.plan.tokenizer.part.load().train(texts, self.plan.tokenizer.config)
        self.hashes["tokenizer"] = durable.write_directory(self.directory.tokenizer, tokenizer.save)
        self.record()
        return tokenizer

    def saved_tokenizer(self) -> Any:
        self.directory.verify("tokenizer")
        return self.plan.tokenizer.part.load().load(self.directory.tokenizer)

    # --- model

    def first_model(self, tokenizer: Any, *, fresh: bool) -> Any:
        """The model before any training, on its device: with weights drawn from the seed, or those of the run to start
        from. The latter are saved in this run's directory, so that resuming it does not need the other run."""
        seed_everything(self.plan.run.seed)
        if self.plan.run.start_from is None:
            model = self.plan.model.part.load()(self.plan.model.config, vocab_size=tokenizer.vocab_size)
        elif fresh and self.base is not None:
            model = self.base.merged_model()
            self.hashes["start"] = durable.write_directory(self.directory.start, model.save)
            self.record()
        else:
            model = self._load("start", self.directory.start)
        return self.placed(model)

    def saved_model(self) -> Any:
        """The model in this run's directory, without its adapter, on its device."""
        return self.placed(self._load("model", self.directory.model))

    def save_model(self, model: Any) -> None:
        self.hashes["model"] = durable.write_directory(self.directory.model, model.save)
        self.record()

    def _load(self, name: str, directory: Path) -> Any:
        self.directory.verify(name)
        return self.plan.model.part.load().load(directory)

    def placed(self, model: Any) -> Any:
        """The model on the run's device, with as many threads as it is worth."""
        set_threads(self.plan.run.threads, model)
        return model.to(self.device) if hasattr(model, "to") else model

    # --- adapter and trainers

    def adapter(self, model: Any) -> Any:
        """The adapter, attached to `model`; None if the plan has none."""
        adapter = build(self.plan.adapter)
        if adapter is not None:
            adapter.wrap(model)
        return adapter

    def save_adapter(self, adapter: Any) -> None:
        self.hashes["adapter"] = durable.write_directory(self.directory.adapter, adapter.save)
        self.record()

    def trainer(self, chosen: Chosen, *, model: Any, tokenizer: Any, task: Any, sampler: Any, adapter: Any) -> Any:
        return chosen.part.load()(
            chosen.config,
            model=model,
            tokenizer=tokenizer,
            task=task,
            sampler=sampler,
            adapter=adapter,
            seed=self.plan.run.seed,
        )

    def save_trainer(self, trainer: Any) -> None:
        """What the trainer has learned besides the model; nothing if it saves no files."""
        if hasattr(trainer, "save"):
            self.hashes["trainer"] = durable.write_directory(self.directory.trainer, trainer.save)
            self.record()

    def load_trainer(self, trainer: Any) -> None:
        """Give the trainer of a finished run what `save_trainer` kept. Raises CheckpointError if that has changed."""
        if hasattr(trainer, "load"):
            self.directory.verify("trainer")
            trainer.load(self.directory.trainer)


def build(chosen: Chosen | None) -> Any:
    """A part that is made from its config alone: a task, a sampler or an adapter; None if none is chosen."""
    return None if chosen is None else chosen.part.load()(chosen.config)


def load_trainer_state(trainer: Any, state: Mapping[str, Any], where: Path) -> None:
    """Raises CheckpointError if the trainer refuses the state: shapes of another model, keys of another trainer."""
    try:
        trainer.load_state_dict(state)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{where}: does not fit this run's parts: {type(error).__name__}: {reason}") from error
