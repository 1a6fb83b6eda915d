"""What this machine and this environment have, what is broken in them, and proofs of what packages claim.

Every check gives findings and raises nothing. `bad` is what keeps something from working, `note` what one may want to
know or repair, `ok` and `fact` the rest.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch_cli.errors import ScratchError
from scratch_cli.parts import one_line
from scratch_cli.registry import KINDS, Registry

OK, FACT, NOTE, BAD = "ok", "fact", "note", "bad"
LEAST_FREE = 200 << 20
"""Bytes on the disk below which a run is likely to fail."""
LIBRARIES = ("click", "jinja2", "numpy", "pluggy", "pydantic", "pygal", "rich", "safetensors", "tomli-w")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line about the environment."""

    topic: str
    state: str
    """OK, FACT, NOTE or BAD."""
    text: str


def findings(registry: Registry) -> Iterator[Finding]:
    """All checks, quick ones first."""
    for check in (_python, _machine, _folders, _plugins, _torch, _kernels, _parts):
        try:
            yield from check(registry)
        except Exception as error:  # a doctor who falls ill says so, and goes on
            yield Finding(
                topic=check.__name__.strip("_"), state=BAD, text=f"the check itself failed: {one_line(error)}"
            )


def _python(_: Registry) -> Iterator[Finding]:
    where = f"Python {platform.python_version()} at {sys.executable}"
    yield Finding(topic="python", state=OK if sys.version_info >= (3, 11) else BAD, text=where)
    yield Finding(topic="python", state=FACT, text=platform.platform())
    missing = [name for name in LIBRARIES if _version(name) is None]
    text = "  ".join(f"{name} {_version(name) or 'missing'}" for name in ("scratch-cli", *LIBRARIES))
    hint = "; pip install --force-reinstall scratch-cli" if missing else ""
    yield Finding(topic="host", state=BAD if missing else OK, text=text + hint)
    optional = "scipy: needed by `scratch ablate`; pip install 'scratch-cli[ablate]'"
    if _version("scipy") is None:
        yield Finding(topic="host", state=NOTE, text=optional)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine(_: Registry) -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    said = "".join(f", {name}={value}" for name, value in threads.items())
    yield Finding(topic="machine", state=FACT, text=f"{usable} of {os.cpu_count()} CPU cores to use{said}")
    with contextlib.suppress(AttributeError, ValueError, OSError):  # not on every system
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        yield Finding(topic="machine", state=FACT, text=f"{total / 2**30:.1f} GiB of memory")
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    yield Finding(
        topic="network", state=FACT, text=f"downloads are {'forbidden by HF_HUB_OFFLINE' if offline else 'allowed'}"
    )


def _folders(_: Registry) -> Iterator[Finding]:
    runs = Path(os.environ.get("SCRATCH_HOME") or ".")
    yield _folder("runs", runs, BAD, "runs are made here; set SCRATCH_HOME, or use --out")
    if _writable(runs):
        free = shutil.disk_usage(_existing(runs)).free
        state = OK if free >= LEAST_FREE else BAD
        yield Finding(topic="runs", state=state, text=f"{free / 2**30:.1f} GiB free on this disk")
    yield _folder("temporary files", Path(tempfile.gettempdir()), BAD, "set TMPDIR")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    yield _folder("cache", cache, NOTE, "compiled kernels and downloads are kept here; set XDG_CACHE_HOME")
    for name in ("NUMBA_CACHE_DIR", "HF_HOME"):
        if os.environ.get(name):
            yield _folder("cache", Path(os.environ[name]), NOTE, f"set by {name}")


def _folder(topic: str, path: Path, otherwise: str, hint: str) -> Finding:
    if _writable(path):
        return Finding(topic=topic, state=OK, text=f"{path.absolute()} can be written to")
    return Finding(topic=topic, state=otherwise, text=f"{path.absolute()} cannot be written to: {hint}")


def _existing(path: Path) -> Path:
    """The folder, or the nearest one above it that exists and in which it could be made."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _writable(path: Path) -> bool:
    """Whether a file can really be made there; access rights alone do not tell."""
    try:
        with tempfile.TemporaryFile(dir=_existing(path)) as stream:
            stream.write(b"x")
        return True
    except OSError:
        return False


def _plugins(registry: Registry) -> Iterator[Finding]:
    for name, version in registry.distributions:
        count = sum(part.distribution == name for part in registry.parts())
        yield Finding(topic="plugin", state=OK, text=f"{name} {version}: {count} parts")
    for failure in registry.failures:
        yield Finding(topic="plugin", state=BAD, text=f"{failure}")
    if not registry.distributions and not registry.failures:
        yield Finding(topic="plugin", state=BAD, text="none is installed; try: pip install gpt-scratch align-scratch")
    versions = {version for name, version in registry.distributions if name.endswith("-scratch")}
    if len(versions) > 1:
        mixed = ", ".join(sorted(versions))
        yield Finding(topic="plugin", state=NOTE, text=f"packages of different versions are mixed: {mixed}")


def _torch(_: Registry) -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        yield Finding(
            topic="torch", state=NOTE, text="is not installed; without it there are tokenizers, and no models"
        )
        return
    with contextlib.redirect_stdout(sys.stderr):
        import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU alone"
    yield Finding(
        topic="torch", state=FACT, text=f"{torch.__version__}, built for {built}; {torch.get_num_threads()} threads"
    )
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [
            f"cuda:{index} {torch.cuda.get_device_name(index)} "
            f"({torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB)"
            for index in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        devices.append("mps")
    yield Finding(topic="torch", state=FACT, text=f"devices: {', '.join(devices)}")
    for name in (device.split()[0] for device in devices):
        ones = torch.ones(64, 64, device=name, requires_grad=True)
        (ones @ ones).sum().backward()  # type: ignore[no-untyped-call]
        right = ones.grad is not None and bool((ones.grad == 128).all())
        text = f"{name} {'multiplies matrices and their gradients' if right else 'gives wrong products'}"
        yield Finding(topic="torch", state=OK if right else BAD, text=text)


def _kernels(_: Registry) -> Iterator[Finding]:
    if importlib.util.find_spec("numba") is None:
        yield Finding(topic="numba", state=NOTE, text="is not installed; what has kernels runs in plain Python")
        return
    import numba
    import numpy as np

    started = time.perf_counter()
    try:
        total = numba.njit(_sum)(np.arange(10))
    except Exception as error:
        yield Finding(topic="numba", state=BAD, text=f"{numba.__version__} cannot compile: {one_line(error)}")
        return
    seconds = time.perf_counter() - started
    state = OK if total == 45 else BAD
    yield Finding(topic="numba", state=state, text=f"{numba.__version__} compiles a kernel, in {seconds:.1f} s")


def _sum(values: Any) -> Any:
    total = 0
    for value in values:
        total += value
    return total


def _parts(registry: Registry) -> Iterator[Finding]:
    """Whether every part can be imported, which a listing does not try."""
    for kind in KINDS:
        good, bad = 0, 0
        for part in registry.parts(kind):
            try:
                part.load()
                part.load_config()
                good += 1
            except ScratchError as error:
                bad += 1
                yield Finding(topic="parts", state=BAD, text=str(error))
        if good or bad:
            of = f"{good} of {good + bad}" if bad else f"{good}"
            yield Finding(topic="parts", state=BAD if bad else OK, text=f"{of} {kind}s can be imported")


# --- proofs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Proven:
    """One claim of a package, as it came out here."""

    distribution: str
    proofs: str
    """The name that the package registered them under."""
    claim: str
    measured: float | str | None
    tolerance: float | str | None
    ok: bool


def verify(registry: Registry) -> Iterator[Proven]:
    """Run all proofs. One that raises, or gives something that is no proof, has failed."""
    for offer in registry.offers("proofs"):
        about = {"distribution": offer.distribution, "proofs": offer.name}
        try:
            with contextlib.redirect_stdout(sys.stderr):
                found = iter(offer.load()())
            while (proven := _next(found, about)) is not None:
                yield proven
        except Exception as error:
            yield Proven(**about, claim=f"failed: {one_line(error)}", measured=None, tolerance=None, ok=False)


def _next(proofs: Iterator[Any], about: dict[str, str]) -> Proven | None:
    """The next proof. What the package prints meanwhile goes to standard error."""
    with contextlib.redirect_stdout(sys.stderr):
        proof = next(proofs, None)
        if proof is None:
            return None
        claim, measured, tolerance = " ".join(str(proof.claim).split()), proof.measured, proof.tolerance
        return Proven(**about, claim=claim, measured=_figure(measured), tolerance=_figure(tolerance), ok=bool(proof.ok))


def _figure(value: Any) -> float | str | None:
    """A number as it is, anything else as text; NaN as text, since JSON has none."""
    if value is None or isinstance(value, str):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if math.isfinite(number) else str(number)
