"""The options of supervised fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from align_scratch.config.checks import at_least, one_of, option, positive, refuse, within
from align_scratch.config.optimizer import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class SFTConfig(OptimizerConfig):
    """Trainer `sft`: supervised fine-tuning on demonstrations."""

    lr: float = option(5e-3, "peak learning rate of AdamW")
    batch_size: int = option(128, "demonstrations in an optimizer step")
    epochs: float | None = option(None, "end after this many passes, if `steps` does not end it before; none = steps")
    loss_type: Literal["nll", "sequence", "sum", "dft"] = option(
        "nll", "nll = mean over tokens, sequence = mean over rows of their means, sum = by a constant, dft"
    )
    normalize_constant: float = option(1.0, "loss_type sum: what each row's sum is divided by")
    label_smoothing: float = option(0.0, "share of each target spread evenly over the vocabulary")
    completion_only: bool = option(True, "learn completions and read prompts; false = learn both")
    assistant_only: bool = option(False, "conversations: learn every reply in them; false = the last")
    neftune_alpha: float | None = option(None, "noise on embeddings while training (NEFTune), 5 say; none = none")
    order: Literal["random", "short_first", "long_first", "as_given"] = option(
        "random", "order of the demonstrations in an epoch"
    )
    packing: Literal["none", "buckets", "shared_rows"] = option(
        "none", "less padding: buckets = rows of like length together, shared_rows = several in a row"
    )
    max_length: int | None = option(None, "longest row in tokens, end mark included; none = what the model reads")
    too_long: Literal["error", "skip", "cut"] = option("error", "a row longer than that is: an error, left out, or cut")
    max_new_tokens: int | None = option(None, "longest completion when judged; none = longest demonstration or answer")
    stop_at: float | None = option(None, "end when sampled accuracy on training prompts reaches this; none = never")
    stop_every: int = option(5, "steps between two looks at that accuracy")
    stop_prompts: int = option(512, "training prompts in one look")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "batch_size", "stop_every", "stop_prompts", "max_new_tokens", why="it is a count")
        at_least(self, 2, "max_length", why="a row has a token to read and one to predict")
        within(self, 0.0, 1.0, "stop_at", why="it is a share")
        positive(self, "epochs", "normalize_constant", "neftune_alpha", why="0 would change nothing or everything")
        one_of(self, "loss_type", "nll", "sequence", "sum", "dft")
        one_of(self, "order", "random", "short_first", "long_first", "as_given")
        one_of(self, "packing", "none", "buckets", "shared_rows")
        one_of(self, "too_long", "error", "skip", "cut")
        if not 0.0 <= self.label_smoothing < 1.0:
            refuse("label_smoothing", self.label_smoothing, "at least 0 and below 1", "it is a share of the target")
        if self.label_smoothing and self.loss_type == "dft":
            refuse("label_smoothing", self.label_smoothing, "0 with loss_type dft",
                   "dft weighs a token by the probability of one target")  # fmt: skip
        if self.normalize_constant != 1.0 and self.loss_type != "sum":
            refuse("normalize_constant", self.normalize_constant, "1.0 unless loss_type is sum",
                   "nothing else is divided by it")  # fmt: skip
        if self.assistant_only and not self.completion_only:
            refuse("assistant_only", True, "false where completion_only is false",
                   "one says to learn replies only, the other to learn everything")  # fmt: skip
        if self.packing == "shared_rows" and self.neftune_alpha is not None:
            refuse("neftune_alpha", self.neftune_alpha, "none with packing shared_rows",
                   "the noise depends on the length of an example's own row; take packing buckets")  # fmt: skip
        if self.grad_accum_steps > self.batch_size:
            refuse("grad_accum_steps", self.grad_accum_steps, f"at most batch_size ({self.batch_size})",
                   "every micro-batch needs a row")  # fmt: skip
