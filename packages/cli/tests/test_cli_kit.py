"""The contract kit accepts parts that keep the contract: its own stand-ins."""

from __future__ import annotations

import pytest

from scratch_cli.testing import parametrize_with_checks, standin_registry

pytest.importorskip("torch", reason="most parts, and so most checks, are made of torch")


@parametrize_with_checks("scratch-standins", registry=standin_registry())
def test_the_stand_ins_keep_the_contract(check):
    check()
