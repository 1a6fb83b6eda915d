"""The ready ablation file: every cell can be planned, is what its label says, and starts where the others start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from papers_scratch.ablations import ADAPTERS
from papers_scratch.counting import adapted_shapes, adapter_numbers

pytest.importorskip("scratch_cli", reason="ablations are run by the host")
pytest.importorskip("gpt_scratch", reason="the file trains its model")
pytest.importorskip("tokenizers_scratch", reason="the file uses its tokenizer")

from scratch_cli.ablation import grid, jobs
from scratch_cli.registry import discover

CELLS = 21


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> jobs.Schedule:
    return jobs.schedule(grid.read(ADAPTERS), discover(), tmp_path_factory.mktemp("out"), seeds=(1, 2))


def test_it_is_a_file_of_this_package() -> None:
    offer = discover(only=["papers-scratch"]).find_offer("ablation", "adapter-sweep")
    assert offer.load() == ADAPTERS
    read = grid.read(ADAPTERS)
    assert f"{len(read.cells)} cells" in offer.summary
    assert f"{len(read.config.seeds)} seeds" in offer.summary
    assert f"{(len(read.cells) + 1) * len(read.config.seeds)} runs" in ADAPTERS.read_text("utf-8")


def test_every_cell_can_be_planned_from_one_base_a_seed(plans: jobs.Schedule) -> None:
    assert not plans.same
    assert len(plans.cells) == 2 * CELLS
    assert len(plans.warm) == 2  # so imitation of answers, too, starts from a base that was shown both orders
    for start in plans.warm:
        assert start.plan.adapter is None
        assert start.plan.trainer.part.name == "sft"
        assert (start.plan.trainer.config.steps, start.plan.trainer.config.min_lr_ratio) == (1500, 0.0)
        assert start.plan.trainer.config.stop_at is None
        assert start.plan.task is not None
        assert start.plan.task.config.mixed == 0.6
    for (_, seed), job in plans.cells.items():
        assert job.needs is not None
        assert job.needs.plan.run.seed == seed == job.plan.run.seed
        assert job.plan.warm_start is None
        assert job.plan.run.start_from == str(job.needs.path.absolute())


def test_labels_say_what_is_trained(plans: jobs.Schedule) -> None:
    chosen = next(iter(plans.cells.values())).plan.model
    shapes = adapted_shapes(chosen.part.load()(chosen.config, vocab_size=100))
    ways = {"grpo": "grpo", "ppo": "ppo", "sft": "hinted-sft", "control": "sft"}
    for (label, _), job in plans.cells.items():
        trainer, adapter = job.plan.trainer, job.plan.adapter
        assert trainer.part.name == ways["grpo" if label == grid.BASE else re.split("[,:]", label)[0]]
        found = re.search(r"\((\d+)\)$", label)
        if adapter is None:
            assert found is None
            continue
        assert adapter.part.name in label
        config = adapter.config
        targets = getattr(config, "target_modules", ())
        adapted = {
            name: shape
            for name, shape in shapes.items()
            if not targets or any(name == target or name.endswith(f".{target}") for target in targets)
        }
        own = {name: getattr(config, name) for name in ("u", "n_tie") if hasattr(config, name)}
        assert found is not None
        assert int(found[1]) == adapter_numbers(adapted, adapter.part.name, r=config.r, **own)


def test_all_ways_train_the_same_forms_at_the_same_rates_on_as_many_completions(plans: jobs.Schedule) -> None:
    by_label = {label: job.plan for (label, seed), job in plans.cells.items() if seed == 1}
    forms = [label.removeprefix("grpo, ") for label in by_label if label.startswith("grpo, ")]
    pairs = [("base", "sft, all weights"), *((f"grpo, {form}", f"sft, {form}") for form in forms)]
    pairs += [(f"grpo, {label.removeprefix('ppo, ')}", label) for label in by_label if label.startswith("ppo, ")]
    pairs += [("base", label) for label in by_label if label.startswith("control: ") and "all weights" in label]
    assert len(forms) == 8
    assert len(pairs) == 11
    for reference, other in pairs:
        ours, theirs = by_label[reference], by_label[other]
        assert (ours.adapter is None) == (theirs.adapter is None)
        if ours.adapter is not None and theirs.adapter is not None:
            assert ours.adapter.config == theirs.adapter.config
        assert ours.trainer.config.lr == theirs.trainer.config.lr
        assert completions(ours.trainer.config) == completions(theirs.trainer.config) == 51_200
        if theirs.trainer.part.name == "hinted-sft":
            assert theirs.trainer.config.imitate == "answer"
            assert theirs.trainer.config.hints == 0


def completions(config: Any) -> int:
    """That a trainer samples, or reads."""
    return config.steps * (getattr(config, "batch_size", 0) or config.prompts_per_step * config.group_size)


def test_nothing_is_written_by_planning(tmp_path: Path) -> None:
    jobs.schedule(grid.read(ADAPTERS), discover(), tmp_path, seeds=(1,))
    assert not list(tmp_path.iterdir())
