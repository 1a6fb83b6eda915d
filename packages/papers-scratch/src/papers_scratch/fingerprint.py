"""Hashes that say which weights an adapter belongs to, and whether a file is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn


def weights_fingerprint(model: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every parameter, in the order of names.

    Any changed bit changes it, and so does another precision. Device and `requires_grad` do not matter. Shared
    parameters count once. Reads every weight once: about a second a gigabyte.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
        raw = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)  # (bytes,)
        digest.update(raw.numpy().data)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def tensor_sha256(tensor: torch.Tensor) -> str:
    """SHA-256 over dtype, shape and bytes of one tensor."""
    digest = hashlib.sha256(f"{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
