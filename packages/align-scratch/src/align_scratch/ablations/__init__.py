"""Ready files for `scratch ablate`."""

from __future__ import annotations

from pathlib import Path

GRPO = Path(__file__).with_name("grpo-ablations.toml")
"""What of GRPO matters, on the task `sort`."""
