"""Options: what is refused, and that the message says the field, the value and the way out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig

CONFIGS = (GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig)


@pytest.mark.parametrize("config", CONFIGS[1:])
@pytest.mark.parametrize("value", [0, 0.0, -1.0, 1e-6, float("nan"), float("inf"), -float("inf"), True, "1", None])
def test_temperature_outside_its_range_is_refused(config: type[Any], value: object) -> None:
    with pytest.raises(ValueError, match=r"^temperature: got .*, must be "):
        config(temperature=value)


def test_temperature_zero_names_greedy() -> None:
    with pytest.raises(ValueError, match="'greedy'"):
        MultinomialConfig(temperature=0)


@pytest.mark.parametrize(
    ("config", "value"), [(TopKConfig, v) for v in (0, -1, 2.5, True, "3")] + [(TopPConfig, v) for v in (-1, 1.0, True)]
)
def test_top_k_outside_its_range_is_refused(config: type[Any], value: object) -> None:
    with pytest.raises(ValueError, match=r"^top_k: got .*, must be "):
        config(top_k=value)


@pytest.mark.parametrize("value", [0, 0.0, -0.1, 1.0001, 2, float("nan"), True, "0.9"])
def test_top_p_outside_its_range_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^top_p: got .*, must be "):
        TopPConfig(top_p=value)


def test_borders_of_the_ranges_are_allowed() -> None:
    MultinomialConfig(temperature=1e-5)
    MultinomialConfig(temperature=999999)
    TopKConfig(top_k=1)
    TopPConfig(top_k=0, top_p=1)


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_are_frozen_and_every_field_has_help(config: type[Any]) -> None:
    for field in dataclasses.fields(config):
        assert field.metadata["help"]
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config(), field.name, 1)


def test_config_and_plugin_import_no_torch() -> None:
    code = "import sys, inference_scratch.config, inference_scratch.plugin; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_plugin_offers_four_samplers_whose_names_resolve() -> None:
    import importlib

    from inference_scratch.plugin import register_samplers

    offered: dict[str, dict[str, Any]] = {}

    def register(name: str, target: str, **rest: Any) -> None:
        offered[name] = {"target": target, **rest}

    register_samplers(register)
    assert list(offered) == ["greedy", "multinomial", "top-k", "top-p"]
    assert offered["multinomial"]["provides"] == ("full-support",)
    assert offered["greedy"]["provides"] == ("deterministic",)
    for part in offered.values():
        cls, config = (
            getattr(importlib.import_module(module), attribute)
            for module, attribute in (part[key].split(":") for key in ("target", "config"))
        )
        assert cls(config(**part.get("smoke", {}))).config == config(**part.get("smoke", {}))
