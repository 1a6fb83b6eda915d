"""This package's parts against the contract kit of the host."""

from __future__ import annotations

from collections.abc import Callable

from scratch_cli.testing import parametrize_with_checks


@parametrize_with_checks("gpt-scratch")
def test_contract(check: Callable[[], None]) -> None:
    check()
