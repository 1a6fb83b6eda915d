"""`scratch generate RUN [PROMPT]`: continue a prompt with the model of a run, streamed to standard output.

The loop is short because the parts do the work: the model keeps a cache, the sampler draws, the tokenizer's stream
decoder holds back bytes until they are whole characters.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from scratch_cli.app import App, complete_part, pass_app, screen_options
from scratch_cli.errors import DataError, UsageError

MAX_PROMPT_BYTES = 1 << 20
BETWEEN = "\n---\n"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("prompt", required=False)
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, metavar="N")
@click.option("-n", "samples", type=click.IntRange(min=1), default=1, metavar="N", help="How many completions.")
@click.option("--sampler", metavar="NAME", shell_complete=complete_part("sampler"), help="Default: the run's.")
@click.option("--set", "sets", multiple=True, metavar="SAMPLER.FIELD=VALUE", help="Set an option of the sampler.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Default: the run's.")
@click.option("--device", metavar="NAME", help="auto, cpu, cuda or mps (default: the run's).")
@screen_options
@pass_app
def generate(
    app: App,
    run: Path,
    prompt: str | None,
    max_new_tokens: int,
    samples: int,
    sampler: str | None,
    sets: tuple[str, ...],
    seed: int | None,
    device: str | None,
) -> None:
    """Continue PROMPT (standard input, if it is left out) with the model of a run.

    The completion goes to standard output as it comes. Several completions are separated by a line of three dashes.
    Of an unfinished run, the newest checkpoint is used.
    """
    from scratch_cli.loaded import choose_sampler, load_parts
    from scratch_cli.saved import open_saved

    saved = open_saved(run, app.registry)
    if "causal-lm" not in saved.plan.model.part.provides:
        raise UsageError(f"{run}: its {saved.plan.model.part.label} cannot continue a prompt, which takes a causal-lm")
    chosen = choose_sampler(app.registry, saved.plan, sampler, sets)
    text = _from_stdin() if prompt is None else prompt
    tokenizer, model = load_parts(saved, saved.device(device))
    ids = _ids(text, tokenizer)
    limit = _limit(len(ids), model.max_length, max_new_tokens)
    import torch

    where = next(iter(model.parameters())).device
    generator = torch.Generator(device=where).manual_seed(saved.plan.run.seed if seed is None else seed)
    for number in range(samples):
        if number:
            click.echo(BETWEEN, nl=False)
        decoder = tokenizer.stream_decoder()
        for drawn in stream(model, ids, chosen, limit, tokenizer.eos_id, generator):
            _write(decoder.push([drawn]))
        _write(decoder.flush())
    click.echo()


def stream(
    model: Any, ids: Sequence[int], sampler: Any, limit: int, eos_id: int | None, generator: Any
) -> Iterator[int]:
    """Up to `limit` ids that continue `ids`, one at a time, without the EOS that may end them."""
    import torch

    model.eval()
    cache = model.new_cache(1, len(ids) + limit)
    rest = torch.tensor([list(ids)], device=generator.device)  # (1, T)
    for _ in range(limit):
        with torch.inference_mode():
            logits = model.head(model.features(rest, cache=cache)[:, -1])  # (1, V)
            rest = sampler.sample(logits, generator)[:, None]  # (1, 1)
        drawn = int(rest.item())
        if drawn == eos_id:
            return
        yield drawn


def _from_stdin() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("there is no prompt: give it as the second argument, or through standard input")
    data = sys.stdin.buffer.read(MAX_PROMPT_BYTES + 1)
    if len(data) > MAX_PROMPT_BYTES:
        raise DataError(f"standard input: the prompt is longer than {MAX_PROMPT_BYTES} bytes")
    try:
        return data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: byte {error.start} is not UTF-8 text") from None


def _ids(text: str, tokenizer: Any) -> list[int]:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"the prompt is not UTF-8 text at character {error.start}") from None
    ids = list(tokenizer.encode(text))
    if ids:
        return ids
    for start in (tokenizer.bos_id, tokenizer.eos_id):
        if start is not None:
            return [start]  # an empty prompt: the beginning of a text
    raise DataError("the prompt is empty, and this tokenizer has no id that begins a text; give at least one character")


def _limit(prompt: int, max_length: int | None, max_new_tokens: int) -> int:
    if max_length is None:
        return max_new_tokens
    if prompt >= max_length:
        raise DataError(
            f"the prompt has {prompt} tokens, but the model reads {max_length} at most, completion included; shorten it"
        )
    room = max_length - prompt
    if room < max_new_tokens:
        click.echo(f"note: the model reads {max_length} tokens at most, so {room} are left to generate", err=True)
    return min(room, max_new_tokens)


def _write(text: str) -> None:
    """Model text on standard output, now; on a terminal, control characters are shown instead of obeyed."""
    if not text:
        return
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), nl=False)
