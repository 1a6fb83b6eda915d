"""Loss, perplexity and bits per byte on a fixed text in a fixed order.

- loss: nats per predicted token, EOS included; perplexity: its exponential. Both depend on the tokenizer.
- bits per byte: nats of the text tokens / (ln 2 x UTF-8 bytes of the documents). EOS counts neither nats nor bytes, so
  that the figure compares tokenizers. Bytes are those of the documents, never of decoded tokens, which may be more or
  fewer where a token is no valid UTF-8.

The text is cut into rows of the context length. A token near the start of a row is predicted from little, which makes
all figures a little worse than a sliding window would.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from gpt_scratch.losses import MOST_LOGITS, token_nats
from gpt_scratch.protocols import LanguageModel
from gpt_scratch.stream import HeldOut


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """No dropout and no gradients inside; afterwards every submodule is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(False)
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def evaluate(model: LanguageModel, held_out: HeldOut, context: int, device: torch.device) -> dict[str, float]:
    """`loss`, `perplexity` and `bits_per_byte`. Touches neither weights nor random states."""
    count = len(held_out.ids) - 1
    padding = -count % context
    inputs, targets = (F.pad(ids, (0, padding)).view(-1, context) for ids in (held_out.ids[:-1], held_out.ids[1:]))
    lengths = torch.full((len(inputs),), context)  # (rows,)
    lengths[-1] -= padding
    rows = max(1, min(32, MOST_LOGITS // (context * model.vocab_size)))
    pieces = []
    with evaluating(model):
        for x, y, real in zip(*(torch.split(part, rows) for part in (inputs, targets, lengths)), strict=True):
            features = model.features(x.to(device), lengths=real.to(device))  # (rows, T, D)
            pieces.append(token_nats(features, y.to(device), model.head).double().cpu())  # (rows, T)
    nats = torch.cat(pieces).flatten()[:count]
    loss = float(nats.mean())
    bits = float(nats[held_out.is_text].sum()) / math.log(2)
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_byte": bits / held_out.num_bytes,
    }
