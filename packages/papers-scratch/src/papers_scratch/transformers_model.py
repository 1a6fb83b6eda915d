"""Model `transformers`: any causal language model of the transformers library behind the contract of models here.

So every trainer, sampler and adapter works on it. Logits, gradients and cached generation are the bare model's own
(`language_model.model` is that model, and may be used and saved as such); what is added is rows of their own length,
padded on the right, and the split into `features` and `head`, which value heads and chunked losses need.

Checked when it is built, on three tokens, rather than assumed from a list of architectures: that the head applied to
the features gives the logits, and that a cache gives what no cache gives. A model for which that fails is refused.

Only safetensors files are read, and no code from a model's repository is run. A checkpoint's own generation settings
(temperature, penalties) are not used: they would make the sampled distribution another than the scored one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import huggingface_hub
import torch
import transformers
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.errors import ModelFileError, ModelNotFound, ModelNotSupported
from papers_scratch.transformers_cache import RaggedCache

OURS = "scratch_model.json"  # beside the files of transformers: what those do not say
PROBE_TOLERANCE = 1e-3  # of the largest logit: kernels differ by rounding between one position and several


class TransformersLM(nn.Module):
    """Ids (B, T) -> logits (B, T, V), V = `vocab_size`."""

    bare_name = "model"
    """Where the bare model is: what other libraries' files name stands below it."""

    def __init__(self, config: TransformersConfig, /, *, vocab_size: int) -> None:
        """Reads `config.path`, or makes a new model; the vocabulary is the tokenizer's.

        A saved model may have more ids than its tokenizer (rows that fill up its table): their logits are left out, so
        that they are never sampled. Raises ModelNotFound, ModelFileError, ModelNotSupported.
        """
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.model: Any = _read(config) if config.path is not None else _make(config, vocab_size)
        own: int = self.model.config.get_text_config().vocab_size
        if own < vocab_size:
            raise ModelNotSupported(
                f"{config.path or config.architecture}: has {own} ids, but the tokenizer has {vocab_size}: use the "
                "model's own tokenizer (--tokenizer hf --set tokenizer.path=...)"
            )
        if self.model.get_output_embeddings() is None or not hasattr(self.model, self.model.base_model_prefix):
            raise ModelNotSupported(
                f"{type(self.model).__name__}: does not tell where its features end and its head starts"
            )
        self.max_length: int | None = _max_length(self.model.config.get_text_config())
        self._check_by_behaviour()

    # --- the contract of models

    def features(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: RaggedCache | None = None) -> Tensor:
        """Ids (B, T) -> what the output head reads: (B, T, D)."""
        T = ids.shape[1]
        if cache is not None:
            mask, positions = cache.extend(T, lengths)
        else:
            places = torch.arange(T, device=ids.device)  # (T,)
            positions = places[None]  # (1, T)
            mask = None if lengths is None else places < lengths[:, None]  # (B, T)
        backbone = getattr(self.model, self.model.base_model_prefix)
        output = backbone(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=None if cache is None else cache.slots,
            use_cache=cache is not None,
        )
        found: Tensor = output.last_hidden_state
        return found

    def features_after(
        self, prompts: Tensor, ids: Tensor, prompt_of: Tensor, /, *, prompt_lengths: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """What the head reads in prompts (P, S) and in their continuations (N, T): (P, S, D) and (N, T, D).

        Row n of `ids` continues prompt `prompt_of[n]`, behind its `prompt_lengths` (P,) real ids; `lengths` (N,) of the
        row are. The prompts' keys and values are computed once, and gradients flow through them. None while the model
        trains with gradient checkpointing, under which transformers forgets its cache, and where S + T is beyond
        `max_length`: padding between prompt and continuation would push one out of the other's sight.
        """
        (P, S), T = prompts.shape, ids.shape[1]
        if self.max_length is not None and self.max_length < S + T:
            return None
        if self.training and any(getattr(module, "gradient_checkpointing", False) for module in self.model.modules()):
            return None
        cache = self.new_cache(P, S + T)
        in_prompts = self.features(prompts, lengths=prompt_lengths, cache=cache)  # (P, S, D)
        return in_prompts, self.features(ids, lengths=lengths, cache=cache.select(prompt_of))

    def head(self, features: Tensor, /) -> Tensor:
        """Features (..., D) -> logits (..., V)."""
        logits: Tensor = self.model.get_output_embeddings()(features)
        settings = self.model.config.get_text_config()
        # What some architectures do to logits after their head (Cohere, Granite, Gemma 2).
        if (factor := getattr(settings, "logit_scale", None)) is not None:
            logits = logits * factor
        if (divisor := getattr(settings, "logits_scaling", None)) is not None:
            logits = logits / divisor
        if (cap := getattr(settings, "final_logit_softcapping", None)) is not None:
            logits = cap * torch.tanh(logits / cap)
        return logits[..., : self.vocab_size]

    def forward(self, ids: Tensor, /, *, lengths: Tensor | None = None, cache: RaggedCache | None = None) -> Tensor:
        return self.head(self.features(ids, lengths=lengths, cache=cache))

    def new_cache(self, batch_size: int, max_length: int, /) -> RaggedCache:
        return RaggedCache(batch_size, max_length, device=self.model.device)

    def get_output_embeddings(self) -> nn.Module:
        """The head's layer: what adapters leave alone."""
        head: nn.Module = self.model.get_output_embeddings()
        return head

    def save(self, directory: Path, /) -> None:
        """The files of transformers, which `from_pretrained` reads, and one of ours."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with _quiet():
            self.model.save_pretrained(str(directory))
        text = json.dumps({"vocab_size": self.vocab_size}) + "\n"
        (directory / OURS).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        """Raises ModelFileError naming what is missing or damaged."""
        path = Path(directory) / OURS
        try:
            vocab_size = int(json.loads(path.read_text(encoding="utf-8"))["vocab_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFileError(f"{path}: missing or damaged: {error}") from error
        return cls(TransformersConfig(path=str(directory), dtype="auto", local_only=True), vocab_size=vocab_size)

    # --- inside

    @torch.no_grad()
    def _check_by_behaviour(self) -> None:
        ids = torch.arange(3, device=self.model.device)[None] % self.vocab_size  # (1, 3)
        training, name = self.training, type(self.model).__name__
        self.eval()
        try:
            expected = self.model(input_ids=ids).logits[..., : self.vocab_size]
            parts = self(ids)
            cache = self.new_cache(1, 3)
            steps = torch.cat([self(ids[:, :2], cache=cache), self(ids[:, 2:], cache=cache)], 1)
        except (TypeError, AttributeError, ValueError, IndexError, NotImplementedError) as error:
            raise ModelNotSupported(
                f"{name}: does not work like a decoder with a cache of keys and values: {error}"
            ) from error
        finally:
            self.train(training)
        tolerance = PROBE_TOLERANCE * float(expected.abs().max()) * (1 if expected.dtype == torch.float32 else 30)
        if not torch.allclose(parts, expected, rtol=0, atol=tolerance):
            raise ModelNotSupported(f"{name}: its logits are not its head applied to its last hidden state")
        if not torch.allclose(steps, expected, rtol=0, atol=tolerance):
            raise ModelNotSupported(f"{name}: computes something else with a cache than without")


def _make(config: TransformersConfig, vocab_size: int) -> Any:
    """A new model with random weights from torch's global generator."""
    try:
        known: Any = transformers.AutoConfig.for_model(config.architecture)
        make: Any = transformers.AutoModelForCausalLM.from_config
        names: dict[str, Any] = {"num_hidden_layers": config.n_layer, "num_attention_heads": config.n_head}
        names |= {"hidden_size": config.n_embd, "max_position_embeddings": config.max_length, "vocab_size": vocab_size}
        optional = {
            "num_key_value_heads": config.n_kv_head or config.n_head,
            "intermediate_size": config.n_inner or 4 * config.n_embd,
            "n_inner": config.n_inner,
            "head_dim": config.n_embd // config.n_head,
        }
        names |= {name: value for name, value in optional.items() if hasattr(known, name)}
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            names[name] = None  # ids of another vocabulary
        settings: Any = transformers.AutoConfig.for_model(config.architecture, **names)
        dtype = torch.float32 if config.dtype == "auto" else getattr(torch, config.dtype)
        return make(settings, dtype=dtype, attn_implementation=_attention(config))
    except Exception as error:  # whatever an architecture does with sizes that it was not made for
        raise ModelNotSupported(
            f"architecture: {config.architecture!r} cannot be made: {_first_line(error)}"
        ) from error


def _read(config: TransformersConfig) -> Any:
    path = _directory(config)
    if not (path / "config.json").is_file():
        raise ModelFileError(f"{path}: has no config.json, so this is no saved transformers model")
    read: Any = transformers.AutoModelForCausalLM.from_pretrained
    try:
        with _quiet():
            model, found = read(
                str(path),
                dtype="auto" if config.dtype == "auto" else getattr(torch, config.dtype),
                attn_implementation=_attention(config),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except OSError as error:
        raise ModelFileError(f"{path}: {_first_line(error)}") from error
    except (ValueError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise ModelNotSupported(f"{config.path}: {_first_line(error)}") from error
    except Exception as error:  # safetensors has an exception class of its own for a damaged file
        if type(error).__module__.startswith("safetensors"):
            raise ModelFileError(f"{path}: a damaged safetensors file: {_first_line(error)}") from error
        raise
    lost = sorted(found["missing_keys"])
    if lost:  # transformers makes them up and goes on
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ModelFileError(f"{path}: has no {lost[0]}{more}, so this is no whole {type(model).__name__}")
    return model


def _directory(config: TransformersConfig) -> Path:
    """Where the files of `config.path` are: itself, or the copy of a hub repository, fetched if it is not here yet."""
    assert config.path is not None
    path = Path(config.path)
    if path.exists():
        return path
    try:
        return Path(
            huggingface_hub.snapshot_download(
                config.path,
                revision=config.revision,
                local_files_only=config.local_only,
                allow_patterns=["*.json", "*.safetensors"],  # no code, no pickle
            )
        )
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        reason = (
            "from the hub, which local_only forbids" if config.local_only else f"from the hub: {_first_line(error)}"
        )
        raise ModelNotFound(f"{config.path}: no such directory, and not to be had {reason}") from error


def _attention(config: TransformersConfig) -> str | None:
    return None if config.attention == "auto" else config.attention  # None: what the architecture can do best


def _max_length(settings: Any) -> int | None:
    """Of a model with a sliding window, the window: within it attention sees everything, and padding moves nothing."""
    limits = [getattr(settings, name, None) for name in ("max_position_embeddings", "n_positions", "n_ctx")]
    if getattr(settings, "use_sliding_window", True):
        limits.append(getattr(settings, "sliding_window", None))
    known = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known) if known else None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class _quiet:
    """Without the progress bars of transformers, which would stand in the way of ours."""

    def __enter__(self) -> None:
        self._shown = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, *details: object) -> None:
        if self._shown:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
