"""Ready files for `scratch ablate`."""

from __future__ import annotations

from pathlib import Path

ADAPTERS = Path(__file__).with_name("adapter-sweep.toml")
"""How many numbers have to be trained, by reinforcement and by imitation, on the task `sort`."""
