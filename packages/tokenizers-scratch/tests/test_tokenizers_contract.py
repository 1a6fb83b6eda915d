"""The contract kit on this package's own parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

testing = pytest.importorskip("scratch_cli.testing", reason="the contract kit comes with scratch-cli[testing]")


@testing.parametrize_with_checks("tokenizers-scratch")
def test_contract(check: Callable[[], None]) -> None:
    check()
