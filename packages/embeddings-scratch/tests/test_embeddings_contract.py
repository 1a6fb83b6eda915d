"""The contract kit on the parts of this package."""

from __future__ import annotations

from scratch_cli.testing import parametrize_with_checks


@parametrize_with_checks("embeddings-scratch")
def test_contract(check):
    check()
