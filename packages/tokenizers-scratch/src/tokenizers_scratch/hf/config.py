"""What can be chosen when a `tokenizer.json` is run."""

from __future__ import annotations

from dataclasses import dataclass, field

from tokenizers_scratch.config import BPEConfig


@dataclass(frozen=True, kw_only=True)
class HFConfig:
    """Options of the `hf` tokenizer."""

    path: str | None = field(
        default=None,
        metadata={"help": "the tokenizer.json to run; without one, byte-level BPE is learned and run as such a file"},
    )
    vocab_size: int = field(default=1024, metadata={"help": "entries to learn, if there is no path"})
    pad_token: str | None = field(
        default=None,
        metadata={"help": "the token that pads; else as tokenizer_config.json says, or by its usual names"},
    )
    bos_token: str | None = field(default=None, metadata={"help": "the token that begins a text; else as above"})
    eos_token: str | None = field(
        default=None,
        metadata={"help": "the token that ends a text; else as above, and if there is none, <EOS> is added"},
    )
    unk_token: str | None = field(default=None, metadata={"help": "the token for the unknown; else as above"})

    def __post_init__(self) -> None:
        for name in ("path", "pad_token", "bos_token", "eos_token", "unk_token"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(
                    f"{name}: got {value!r}, must be a text that is not empty, or none: it names something"
                )
        BPEConfig(vocab_size=self.vocab_size)
