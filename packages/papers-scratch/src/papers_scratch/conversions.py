"""The same change of the weights by another adapter: TinyLoRA <-> LoRA-XS exactly, LoRA -> either as a projection.

LoRA-XS is TinyLoRA with u = r^2 numbers a layer and the unit matrices E_jk, row by row, as its projections: v is R read
row by row. The other way round, R = sum_i v_i P_i. Nothing is lost in either direction; only tied layers become layers
of their own. A LoRA's change lives in directions of its own, so that in the r leading ones of the weight only a part
of it is left: `Projected.residual` says how much is not.

Every function here returns an adapter that is like a loaded one: `wrap` the same base model with it; another is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from papers_scratch.adapter_files import ModuleRecord, SavedAdapter
from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.fingerprint import tensor_sha256
from papers_scratch.frame_adapter import Frame
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.projections import projections
from papers_scratch.singular import fingerprint, leading_directions
from papers_scratch.targets import weight_matrix
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.tying import groups

CONVERTED = Path("the converted adapter")  # stands where messages name a file


@dataclass(frozen=True, kw_only=True)
class Projected:
    """What the frame of an adapter can hold of a LoRA's change D, as the nearest D' in the Frobenius norm."""

    adapter: TinyLoRA | LoRAXS
    residuals: Mapping[str, float]
    """|D - D'| / |D| of each layer, 0 (nothing lost) to 1; 0 where the LoRA changes nothing."""
    residual: float
    """The same of all layers at once."""


def lora_xs_to_tinylora(adapter: LoRAXS) -> TinyLoRA:
    """The same change with u = r^2 numbers a layer on the basis. `adapter` wraps a model.

    A layer with fewer than r directions gets zeros for the numbers that it has no use for.
    """
    own = adapter.config
    config = TinyLoRAConfig(
        r=own.r,
        u=own.r**2,
        alpha=own.scale,
        target_modules=own.target_modules,
        sigma=own.sigma,
        projection="basis",
        save_frames=True,
    )
    records: list[ModuleRecord] = []
    values: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    for number, record in enumerate(adapter.records):
        layer = adapter.layers[record.name]
        v = torch.zeros(config.u)
        v[: record.r**2] = layer.core().detach().cpu().flatten()
        fixed = projections("basis", u=config.u, r=record.r, seed=0, layer=number)  # (u, r, r)
        values[f"v.{number}"] = v
        frozen |= _frozen(record.name, (layer.A, layer.B), fixed)
        records.append(replace(record, projections_sha256=tensor_sha256(fixed)))
    return TinyLoRA.from_saved(SavedAdapter(CONVERTED, records, values, frozen), config)


def tinylora_to_lora_xs(adapter: TinyLoRA) -> LoRAXS:
    """The same change with r^2 numbers a layer; layers that shared numbers get their own. `adapter` wraps a model."""
    own = adapter.config
    config = LoRAXSConfig(
        r=own.r, alpha=own.scale * own.r, target_modules=own.target_modules, sigma=own.sigma, save_frames=True
    )
    values: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    for name, layer in adapter.layers.items():
        values[f"R.{name}"] = layer.core().detach().cpu()
        frozen |= _frozen(name, (layer.A, layer.B))
    records = [replace(record, projections_sha256="") for record in adapter.records]
    return LoRAXS.from_saved(SavedAdapter(CONVERTED, records, values, frozen), config)


def project_lora(adapter: LoRA, config: TinyLoRAConfig | LoRAXSConfig) -> Projected:
    """The nearest change that an adapter with `config` can make to the layers that `adapter` changes.

    Least squares, in fp64, over the layers of a group at once; of several best v, the shortest. Targets are those of
    the LoRA. Raises ValueError while the LoRA is merged: the base weight is not there then.
    """
    if adapter.merged:
        raise ValueError("the LoRA is merged into the weights; unmerge it before it is projected")
    config = replace(config, target_modules=adapter.config.target_modules)
    names = list(adapter.layers)
    tiny = config if isinstance(config, TinyLoRAConfig) else None
    group = (
        groups(names, tying=tiny.tying, n_tie=tiny.n_tie, weight_tying=tiny.weight_tying) if tiny else range(len(names))
    )
    layers = [
        _Fit.of(adapter.layers[name].get_base_layer(), adapter.delta_weight(name), config, number)
        for number, name in enumerate(names)
    ]
    found: dict[int, Tensor] = {}
    for g in dict.fromkeys(group):
        members = [layer for layer, own in zip(layers, group, strict=True) if own == g]
        design = torch.cat([layer.design for layer in members])  # (sum of r^2, u)
        target = torch.cat([layer.target for layer in members])  # (sum of r^2,)
        found[g] = torch.linalg.lstsq(design, target[:, None], driver="gelsd").solution[:, 0]  # (u,)
    records: list[ModuleRecord] = []
    values: dict[str, Tensor] = {}
    frozen: dict[str, Tensor] = {}
    lost: list[float] = []
    whole: list[float] = []
    for name, layer, g in zip(names, layers, group, strict=True):
        v = found[g].float()
        values |= {f"v.{g}": v} if tiny else {f"R.{name}": v.view(layer.r, layer.r)}
        frozen |= _frozen(name, layer.frame, layer.projections if tiny else None)
        records.append(layer.record(name, tied_to=layer.projections if tiny else None))
        inside = layer.target - layer.design @ found[g]  # what the frame could hold and v does not
        lost.append(max(layer.outside, 0.0) + float(inside.square().sum()))
        whole.append(layer.whole)
    saved = SavedAdapter(CONVERTED, records, values, frozen)
    made = (TinyLoRA if tiny else LoRAXS).from_saved(saved, config)
    return Projected(
        adapter=made,
        residuals={name: _share(part, of) for name, part, of in zip(names, lost, whole, strict=True)},
        residual=_share(sum(lost), sum(whole)),
    )


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """A layer's share of the least squares, in coordinates along orthonormal bases of its frame."""

    weight: Tensor
    frame: Frame
    projections: Tensor
    """(u, r, r)."""
    design: Tensor
    """What each number of v does: (r^2, u), fp64."""
    target: Tensor
    """The change D inside the frame: (r^2,), fp64."""
    outside: float
    """|D|^2 outside of it."""
    whole: float
    """|D|^2."""

    @property
    def r(self) -> int:
        return len(self.frame[0])

    @classmethod
    def of(cls, base: nn.Module, change: Tensor, config: TinyLoRAConfig | LoRAXSConfig, number: int) -> _Fit:
        weight = weight_matrix(base)  # (out, in)
        a, b = (part.to(weight.dtype) for part in leading_directions(weight, config.r).frame(config.sigma))
        r = len(a)
        if isinstance(config, TinyLoRAConfig):
            fixed = projections(config.projection, u=config.u, r=r, seed=config.seed, layer=number)
        else:
            fixed = projections("basis", u=r * r, r=r, seed=0, layer=number)  # (u, r, r)
        q_b, r_b = torch.linalg.qr(b.double())  # (out, r), (r, r)
        q_a, r_a = torch.linalg.qr(a.double().T)  # (in, r), (r, r)
        design = config.scale * (r_b @ fixed.double() @ r_a.T).flatten(1).T  # (r^2, u)
        delta = change.detach().cpu().double()  # (out, in)
        target = (q_b.T @ delta @ q_a).flatten()  # (r^2,)
        whole = float(delta.square().sum())
        return cls(
            weight=weight,
            frame=(a, b),
            projections=fixed,
            design=design,
            target=target,
            outside=whole - float(target.square().sum()),
            whole=whole,
        )

    def record(self, name: str, *, tied_to: Tensor | None) -> ModuleRecord:
        return frame_record(name, self.weight, self.frame, tied_to)


def frame_record(name: str, weight: Tensor, frame: Frame, fixed: Tensor | None) -> ModuleRecord:
    """What numbers belong to that mean something in this frame (A, B), with these projections P, of this weight."""
    a, b = (part.to(weight.dtype) for part in frame)  # as the layer will hold them
    return ModuleRecord(
        name=name,
        shape=(weight.shape[0], weight.shape[1]),
        r=len(a),
        weight_sha256=tensor_sha256(weight),
        frame=fingerprint(a, b),
        projections_sha256="" if fixed is None else tensor_sha256(fixed),
    )


def _frozen(name: str, frame: Frame, fixed: Tensor | None = None) -> dict[str, Tensor]:
    parts: dict[str, Any] = {"A": frame[0], "B": frame[1], "P": fixed}
    return {f"{name}.{key}": part.detach().cpu() for key, part in parts.items() if part is not None}


def _share(part: float, whole: float) -> float:
    return (part / whole) ** 0.5 if whole > 0 else 0.0
