"""What an adapter does to a model, as a table: which layers, how many numbers, what is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from papers_scratch.counting import count_trainable_params
from papers_scratch.errors import AdapterTargetError
from papers_scratch.frame_layer import FrameLinear, TinyLoRALinear
from papers_scratch.targets import listing, weight_matrix

PEFT_NAME = "default"  # of the only adapter of a model; PEFT itself is not imported here
HEADINGS = ("layers", "number", "out x in", "r", "u", "groups", "trained")


@dataclass(frozen=True, kw_only=True)
class _Layer:
    method: str
    name: str
    base: nn.Module
    r: int
    u: int | None
    """Numbers in the vector or matrix of the layer; None where there is none (LoRA)."""
    trained: Sequence[nn.Parameter]

    @property
    def shape(self) -> tuple[int, int]:
        out_features, in_features = weight_matrix(self.base).shape
        return out_features, in_features


def print_adapter_summary(model: nn.Module) -> None:
    """Print `adapter_summary(model)`."""
    print(adapter_summary(model))


def adapter_summary(model: nn.Module) -> str:
    """A table of the adapted layers of `model` by kind, and its totals, for each of the four adapters.

    kind: the last part of a layer's name, with its shape. `groups` is how many vectors v (matrices R, pairs A and B)
    layers of that kind use, `trained` how many numbers are in them; shared ones stand in each row that uses them, and
    count once in the total. Weight matrices are all parameters of two or more dimensions, embeddings and heads too; a
    3-D parameter (experts) counts as a stack of matrices. Raises AdapterTargetError if the model has no adapter.
    """
    layers = [found for name, module in model.named_modules() if (found := _adapted(name, module)) is not None]
    if not layers:
        raise AdapterTargetError(f"{type(model).__name__} has no adapter; wrap it with one first")
    kinds: dict[Any, list[_Layer]] = {}
    for layer in layers:
        kinds.setdefault((layer.name.rpartition(".")[2], layer.shape, layer.r), []).append(layer)
    rows = [list(HEADINGS)]
    for (kind, (out_features, in_features), r), members in kinds.items():
        used = {tuple(map(id, layer.trained)): layer.trained for layer in members}
        rows.append(
            [
                kind,
                str(len(members)),
                f"{out_features} x {in_features}",
                str(r),
                "-" if members[0].u is None else str(members[0].u),
                str(len(used)),
                f"{sum(parameter.numel() for trained in used.values() for parameter in trained):,}",
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    table = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([_coverage(model, layers), *table, *_totals(model, layers)])


def _adapted(name: str, module: nn.Module) -> _Layer | None:
    found: Any = module
    if isinstance(module, FrameLinear):
        trained = list(module.parameters(recurse=False))
        method = "tinylora" if isinstance(module, TinyLoRALinear) else "lora-xs"
        return _Layer(
            method=method,
            name=name,
            base=module.base_layer,
            r=module.r,
            u=sum(parameter.numel() for parameter in trained),
            trained=trained,
        )
    if not hasattr(module, "base_layer"):
        return None
    if hasattr(module, "lora_A"):
        trained = [found.lora_A[PEFT_NAME].weight, found.lora_B[PEFT_NAME].weight]
        return _Layer(method="lora", name=name, base=found.base_layer, r=len(trained[0]), u=None, trained=trained)
    if hasattr(module, "tinylora_A"):
        v = found.tinylora_v[PEFT_NAME][found._tinylora_v_key[PEFT_NAME]]
        r = len(found.tinylora_A[PEFT_NAME])
        return _Layer(method="peft-tinylora", name=name, base=found.base_layer, r=r, u=len(v), trained=[v])
    return None


def _coverage(model: nn.Module, layers: Sequence[_Layer]) -> str:
    own = {id(parameter) for layer in layers for parameter in layer.trained}
    adapted = {id(layer.base.weight) for layer in layers}
    total, left = 0, []
    for name, parameter in model.named_parameters():  # a shared one once
        if parameter.dim() < 2 or id(parameter) in own:
            continue
        total += _matrices(parameter)
        if id(parameter) not in adapted:
            left.append(name.removesuffix(".weight"))
    rest = f"; left alone: {listing(left)}" if left else ""
    return f"{layers[0].method}: adapted {len(adapted)} of {total} weight matrices{rest}"


def _matrices(parameter: Tensor) -> int:
    return parameter.shape[0] if parameter.dim() == 3 else 1


def _totals(model: nn.Module, layers: Sequence[_Layer]) -> list[str]:
    count = count_trainable_params(model)
    mine = {id(parameter): parameter.numel() for layer in layers for parameter in layer.trained}
    numbers = sum(mine.values())
    groups = len({tuple(map(id, layer.trained)) for layer in layers})
    base = count.total - numbers
    lines = [
        f"{len(layers)} layers, {groups} groups, {numbers:,} numbers in the adapter: "
        f"1 for {base / numbers:,.0f} of the model's {base:,}",
        str(count),
    ]
    if count.trainable != numbers:
        lines.append(f"trained besides: {count.trainable - numbers:,} numbers outside of the adapter")
    return lines
