"""The contract kit accepts parts that keep the contract: its own stand-ins."""

from __future__ import annotations

from scratch_cli.testing import parametrize_with_checks, standin_registry


@parametrize_with_checks("scratch-standins", registry=standin_registry())
def test_the_stand_ins_keep_the_contract(check):
    check()
