"""The contract kit on this package's parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("scratch_cli.testing", reason="the contract kit comes with scratch-cli[testing]")

from scratch_cli.testing import parametrize_with_checks


@parametrize_with_checks("align-scratch")
def test_contract(check: Callable[[], None]) -> None:
    check()
