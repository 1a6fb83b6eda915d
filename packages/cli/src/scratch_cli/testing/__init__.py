"""The contract kit: what every part must do, as checks by behaviour.

Install it with `pip install scratch-cli[testing]`. In a package's tests:

    from scratch_cli.testing import parametrize_with_checks

    @parametrize_with_checks("my-distribution")
    def test_contract(check):
        check()

Without pytest: `scratch check my-distribution`. Each check is a plain function of a `Subject` in a module named after
its kind; its docstring is the rule it checks. Tiny stand-in partners come with the kit, so that a package is tested
alone. Importing this package imports neither torch nor pytest.
"""

from __future__ import annotations

from scratch_cli.testing.cases import Case, cases_of
from scratch_cli.testing.outcome import CheckFailed, CheckSkipped
from scratch_cli.testing.parametrize import parametrize_with_checks
from scratch_cli.testing.standins import standin_registry
from scratch_cli.testing.subject import Subject

__all__ = [
    "Case",
    "CheckFailed",
    "CheckSkipped",
    "Subject",
    "cases_of",
    "parametrize_with_checks",
    "standin_registry",
]
