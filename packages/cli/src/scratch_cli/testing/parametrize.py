"""The kit in pytest: one test a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scratch_cli.errors import UsageError
from scratch_cli.registry import Registry, nearest
from scratch_cli.testing.cases import Case, cases_of
from scratch_cli.testing.outcome import CheckSkipped

F = TypeVar("F", bound=Callable[..., Any])


def parametrize_with_checks(
    distribution: str, *, expected_failures: Mapping[str, str] | None = None, registry: Registry | None = None
) -> Callable[[F], F]:
    """Parametrize a test of one argument, `check`, with every case of the distribution's parts.

        @parametrize_with_checks("gpt-scratch", expected_failures={"model:odd:causality": "looks ahead by design"})
        def test_contract(check):
            check()

    expected_failures: `kind:name:check` -> reason. Strict: a case that is expected to fail and passes is a failure.
    registry: None looks at what is installed.

    Raises PluginError if the distribution is unknown, broken or offers no part, and UsageError if `expected_failures`
    names a case that does not exist or gives no reason.
    """
    import pytest

    expected = dict(expected_failures or {})
    cases = cases_of(distribution, registry)
    known = [case.id for case in cases]
    for name, reason in expected.items():
        if name not in known:
            raise UsageError(f"expected_failures: there is no case {name!r} of {distribution}{nearest(name, known)}")
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"expected_failures[{name!r}]: must give the reason")
    params = []
    for case in cases:
        marks = [pytest.mark.xfail(reason=expected[case.id], strict=True)] if case.id in expected else []
        params.append(pytest.param(_Skipping(case), id=case.id, marks=marks))
    return pytest.mark.parametrize("check", params)


class _Skipping:
    """A case whose CheckSkipped is pytest's skip."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def __call__(self) -> None:
        import pytest

        __tracebackhide__ = True
        try:
            self.case()
        except CheckSkipped as skipped:
            pytest.skip(str(skipped))
