"""Checkpoints that survive a kill, a full disk and a flipped bit.

    checkpoints/step-000100/
        tensors.safetensors   every tensor and array of the state (absent if there is none)
        state.json            the tree around them: dicts, lists, tuples, numbers, text
        manifest.json         written last: size and SHA-256 of both, what the checkpoint belongs to, and its own hash

A checkpoint is written into a temporary directory beside the others, every file is synced, the directory is synced,
renamed into place, and only then are older ones removed. So a directory with one of the final names is complete
unless the disk or a person changed it afterwards, and that is found by hashes: safetensors alone notices truncation
but not a flipped bit. Nothing here unpickles, and what a manifest claims is checked before anything is allocated.

`step-*` are checkpoints of the main stage, `warm-*` of the warm start before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch_cli.durable import file_hash, sync_directory, sync_file, temporary_directory
from scratch_cli.errors import CheckpointError
from scratch_cli.state_tree import STATE, TENSORS, Arrays, BadTree, decode, encode, load_tensors, save_tensors

FORMAT = 1
MANIFEST = "manifest.json"
PREFIXES = ("warm", "step")  # in the order in which a run goes through them
_NAME = re.compile(rf"({'|'.join(PREFIXES)})-(\d{{6,18}})")
MAX_MANIFEST = 1 << 20
MAX_STATE = 100_000_000
MAX_HEADER = 100_000_000  # the limit of the safetensors format itself
MAX_TENSORS = 100_000


class Damaged(Exception):
    """One checkpoint is not what was written; the message starts with the file's name."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What `read` gives back. `meta` is what `write` was given, with `prefix` and `step` as the directory says."""

    path: Path
    prefix: str
    step: int
    state: Any
    meta: dict[str, Any]


# --- writing --------------------------------------------------------------------------------------------------------


def write(root: Path, step: int, state: Any, meta: Mapping[str, Any], *, prefix: str = "step", keep: int = 2) -> Path:
    """Write `state` to `root`/`prefix`-`step` and remove all but the newest `keep` (at least 2) afterwards.

    If a checkpoint of that name exists it is replaced. Raises OSError if the disk is full or not writable; what was
    there before is then still there. Raises RunFailed, naming the place, if `state` holds what cannot be stored.
    """
    arrays = Arrays()
    tree = {"state": encode(state, "state", arrays)}
    tree["torch"] = any(kind == "torch" for kind, _ in arrays.by_name.values())
    final = root / f"{prefix}-{step:06d}"
    root.mkdir(parents=True, exist_ok=True)
    temporary = temporary_directory(root)
    try:
        names = [STATE]
        (temporary / STATE).write_bytes(json.dumps(tree, allow_nan=False).encode())
        if arrays.by_name:
            names.append(TENSORS)
            save_tensors(arrays.by_name, temporary / TENSORS)
        files = {}
        for name in names:
            sync_file(temporary / name)
            files[name] = {"size": (temporary / name).stat().st_size, "sha256": file_hash(temporary / name)}
        meta = {**meta, "prefix": prefix, "step": step}
        (temporary / MANIFEST).write_bytes(_manifest_bytes({"format": FORMAT, "meta": meta, "files": files}))
        sync_file(temporary / MANIFEST)
        sync_directory(temporary)
        replaced = _set_aside(final) if final.exists() else None
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_directory(root)
    discarded = [_set_aside(old) for _, _, old in listing(root)[max(2, keep) :]]
    for path in [replaced, *discarded]:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
    return final


def _set_aside(path: Path) -> Path:
    """Rename before removing, so that a kill in the middle leaves no half of a checkpoint under a final name."""
    aside = temporary_directory(path.parent)
    os.rename(path, aside / path.name)
    return aside


def drop_newer(root: Path, kept: Checkpoint) -> None:
    """After going back to `kept`: rename what is newer and damaged to `damaged-...`, out of the way of the next run."""
    for prefix, step, path in listing(root):
        if (prefix, step) == (kept.prefix, kept.step):
            return
        aside = path.with_name(f"damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(path, aside)


def _manifest_bytes(body: Mapping[str, Any]) -> bytes:
    """The one way to write a manifest: any other bytes are damage."""
    text = json.dumps(body, sort_keys=True, indent=1, allow_nan=False)
    seal = hashlib.sha256(text.encode()).hexdigest()
    return f'{{"sha256": "{seal}",\n"manifest": {text}}}\n'.encode()


# --- reading --------------------------------------------------------------------------------------------------------


def listing(root: Path) -> list[tuple[str, int, Path]]:
    """(prefix, step, path) of every directory with a checkpoint's name, newest first."""
    found = []
    if root.is_dir():
        for path in root.iterdir():
            match = _NAME.fullmatch(path.name)
            if match:
                found.append((match[1], int(match[2]), path))
    return sorted(found, key=lambda entry: (PREFIXES.index(entry[0]), entry[1]), reverse=True)


def read(path: Path) -> Checkpoint:
    """Verify and load one checkpoint. Raises CheckpointError that names the file at fault."""
    try:
        return _read(path)
    except Damaged as error:
        raise CheckpointError(f"{path}: {error}") from None


def newest_intact(root: Path, *, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is exactly what was written; None if there never was one.

    Damaged ones are reported through `warn` and passed over. Raises CheckpointError if all are damaged.
    """
    problems = []
    for _, _, path in listing(root):
        try:
            found = _read(path)
        except Damaged as error:
            problems.append(f"{path.name}/{error}")
            continue
        for problem in problems:
            warn(f"damaged checkpoint: {problem}; going back to {path.name}")
        return found
    if problems:
        raise CheckpointError(f"{root}: no intact checkpoint: " + "; ".join(problems))
    return None


def _read(path: Path) -> Checkpoint:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise Damaged(f"{path.name}: is not a checkpoint's name")
    name, step = match[1], match[2]
    try:
        manifest = _read_manifest(path / MANIFEST)
        meta, files = manifest["meta"], manifest["files"]
        if meta["prefix"] != name or meta["step"] != int(step):
            raise Damaged(f"{MANIFEST}: belongs to {meta['prefix']}-{meta['step']:06d}")
        for file, entry in files.items():
            _verify(path / file, entry["size"], entry["sha256"])
        if files[STATE]["size"] > MAX_STATE:
            raise Damaged(f"{STATE}: larger than {MAX_STATE} bytes")
        tree = json.loads((path / STATE).read_bytes())
        tensors: Mapping[str, Any] = {}
        if TENSORS in files:
            _verify_header(path / TENSORS, files[TENSORS]["size"])
            tensors = load_tensors(path / TENSORS, with_torch=tree["torch"])
        state = decode(tree["state"], tensors)
    except Damaged:
        raise
    except BadTree as error:
        raise Damaged(str(error)) from None
    except OSError as error:
        raise Damaged(f"{Path(error.filename or path).name}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError, RecursionError, RuntimeError, OverflowError) as error:
        raise Damaged(f"{STATE}: not readable: {type(error).__name__} {error}") from None
    return Checkpoint(path=path, prefix=name, step=int(step), state=state, meta=meta)


def _read_manifest(path: Path) -> dict[str, Any]:
    if path.is_symlink() or not path.is_file():
        raise Damaged(f"{MANIFEST}: missing")
    if path.stat().st_size > MAX_MANIFEST:
        raise Damaged(f"{MANIFEST}: larger than {MAX_MANIFEST} bytes")
    data = path.read_bytes()
    try:
        manifest = json.loads(data)["manifest"]
        if _manifest_bytes(manifest) != data:
            raise Damaged(f"{MANIFEST}: changed after it was written")
        if manifest["format"] != FORMAT:
            raise Damaged(f"{MANIFEST}: format {manifest['format']!r}, this version reads {FORMAT}")
        meta, files = manifest["meta"], manifest["files"]
        if type(meta["step"]) is not int or meta["prefix"] not in PREFIXES:
            raise Damaged(f"{MANIFEST}: no step in it")
        for name in files:
            if name not in (STATE, TENSORS):
                raise Damaged(f"{MANIFEST}: names a file that no checkpoint has: {name!r}")
        if STATE not in files:
            raise Damaged(f"{MANIFEST}: does not name {STATE}")
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Damaged(f"{MANIFEST}: not a manifest") from None
    return dict(manifest)


def _verify(path: Path, size: Any, digest: Any) -> None:
    if path.is_symlink() or not path.is_file():
        raise Damaged(f"{path.name}: missing")
    actual = path.stat().st_size
    if actual != size:
        raise Damaged(f"{path.name}: {actual} bytes, {size!r} were written")
    if file_hash(path) != digest:
        raise Damaged(f"{path.name}: content changed (SHA-256 differs)")


def _verify_header(path: Path, size: int) -> None:
    """Refuse a header that claims too much, before safetensors allocates anything for it."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(MAX_HEADER, size - 8):
            raise Damaged(f"{TENSORS}: header of {length} bytes")
        header = json.loads(stream.read(length))
    if len(header) > MAX_TENSORS:
        raise Damaged(f"{TENSORS}: {len(header)} tensors, at most {MAX_TENSORS}")
