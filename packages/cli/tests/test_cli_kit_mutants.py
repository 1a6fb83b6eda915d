"""Every check of the kit catches the fault that it is for: parts that each break one rule, and the check that tells."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest

from scratch_cli.registry import Part
from scratch_cli.testing import CheckFailed, cases_of, standin_registry

pytest.importorskip("torch", reason="most parts, and so most checks, are made of torch")

FOLDER = str(Path(__file__).parent / "mutants")
CONFIG, TEXT, MODEL, TRAINER = "mutant_parts", "mutant_parts", "mutant_models", "mutant_trainers"
LM, VECTORS = "tiny-lm", "tiny-vectors"


@pytest.fixture(autouse=True)
def mutants_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


def fail(kind: str, part: Part, check: str, message: str = "") -> None:
    """The case `check` of this part fails, and says why."""
    registry = dataclasses.replace(
        standin_registry(),
        all_parts=(part, *(p for p in standin_registry().parts() if (p.kind, p.name) != (kind, part.name))),
    )
    (case,) = [c for c in cases_of(None, registry) if c.id == f"{kind}:{part.name}:{check}"]
    with pytest.raises(CheckFailed) as caught:
        case()
    assert message in str(caught.value)
    assert str(caught.value).strip()


def mutant(kind: str, name: str, **changes: Any) -> Part:
    return dataclasses.replace(standin_registry().find(kind, name), **changes)


CONFIGS = [
    ("ThawedConfig", "config-is-frozen", "must be frozen"),
    ("PositionalConfig", "config-is-frozen", "must be keyword-only"),
    ("NamedConfig", "config-is-frozen", "is taken"),
    ("NoDataclass", "config-is-frozen", "must be a dataclass"),
    ("RequiredConfig", "config-by-default", "must work without arguments"),
    ("BadDefaultConfig", "config-by-default", "never good"),
    ("UnequalConfig", "config-by-default", "must be equal"),
    ("SilentConfig", "config-options-are-described", "SilentConfig.n: needs"),
    ("BytesConfig", "config-as-text", "cannot be read back"),
    ("InfiniteConfig", "config-as-text", "must be a finite number"),
    ("TextForNoneConfig", "config-as-text", "read back as"),
]

TOKENIZERS = [
    ("Strips", "round-trip"),
    ("Normalizes", "round-trip"),
    ("AddsBos", "round-trip"),
    ("SmallVocabulary", "ids-below-vocab-size"),
    ("EqualSpecials", "ids-below-vocab-size"),
    ("NoEos", "ids-below-vocab-size"),
    ("StrictDecode", "every-id-decodes"),
    ("BatchAddsBos", "batches"),
    ("BatchDecodesJoined", "batches"),
    ("LoadsAnother", "save-and-load"),
    ("Pickles", "save-and-load"),
    ("SavesNothing", "save-and-load"),
    ("SetOrder", "training-is-deterministic"),
    ("ReadsTwice", "training-is-deterministic"),
    ("Draws", "training-is-deterministic"),
    ("ReadsSpecials", "special-tokens-are-not-text"),
    ("LearnsSpecials", "special-tokens-are-not-text"),
    ("ShowsSpecials", "special-tokens-are-not-text"),
    ("CutsCharacters", "stream-decoder"),
    ("ForgetsTheEnd", "stream-decoder"),
]

TASKS = [
    ("OneSplit", "splits-share-no-text"),
    ("EmptyHeldOut", "splits-share-no-text"),
    ("OneShot", "splits-share-no-text"),
    ("Shuffles", "the-same-config-gives-the-same-task"),
    ("DefaultSplit", "unknown-split"),
    ("SamePrompts", "splits-share-no-prompt"),
    ("RepeatsPrompts", "splits-share-no-prompt"),
    ("NoDemonstration", "splits-share-no-prompt"),
    ("RejectsSome", "accepts-its-own-answers"),
    ("ExplainsTheRight", "accepts-its-own-answers"),
    ("AcceptsAll", "rejects-corrupted-answers"),
    ("AcceptsPrefixes", "rejects-corrupted-answers"),
    ("AcceptsWhatStartsRight", "rejects-corrupted-answers"),
    ("AcceptsAnyOrder", "rejects-corrupted-answers"),
    ("LooksAtTheEnds", "rejects-corrupted-answers"),
    ("PaysTheSame", "rejects-corrupted-answers"),
    ("ExplainsNothing", "rejects-corrupted-answers"),
    ("AcceptsAll", "hostile-completions"),
    ("PaysNaN", "hostile-completions"),
    ("Evaluates", "hostile-completions"),
    ("Backtracks", "hostile-completions"),
    ("QuotesEverything", "hostile-completions"),
    ("EqualPairs", "pairs"),
    ("SharedPairs", "pairs"),
]

MODELS = [
    ("OddLimit", "is-a-module"),
    ("SeedsItself", "building-is-deterministic"),
    ("OneStart", "building-is-deterministic"),
    ("LosesAWeight", "save-and-load"),
    ("RoundsWeights", "save-and-load"),
    ("SavesAPickle", "save-and-load"),
    ("UnusedParameter", "gradients"),
    ("DetachedPart", "gradients"),
    ("LastOnly", "shapes"),
    ("ScaledForward", "shapes"),
    ("RigidHead", "shapes"),
    ("Constant", "logits-depend-on-ids"),
    ("LooksAhead", "causality"),
    ("MixesRows", "row-alone"),
    ("SeesPadding", "row-alone"),
    ("AlwaysDrops", "eval-is-repeatable"),
    ("CountsCalls", "eval-is-repeatable"),
    ("NoLinear", "linear-layers"),
    ("CacheIgnoresLengths", "cache-equals-no-cache"),
    ("CacheForgets", "cache-equals-no-cache"),
    ("CacheOfThePositions", "cache-equals-no-cache"),
    ("CacheLengthsOfOneType", "cache-equals-no-cache"),
    ("CacheForgets", "cache-without-lengths"),
    ("CacheKeepsPadding", "cache-padding-is-forgotten"),
    ("SelectChangesTheOld", "cache-select"),
    ("SelectSorts", "cache-select"),
    ("TruncateDoesNothing", "cache-truncate"),
    ("TruncateToTheLongest", "cache-truncate"),
]

SAMPLERS = [
    ("Unnormalized", "log-probs-are-a-distribution"),
    ("InPlace", "log-probs-are-a-distribution"),
    ("WholeBatch", "log-probs-are-a-distribution"),
    ("KeepsADimension", "sample-shape"),
    ("ShortIds", "sample-shape"),
    ("InPlace", "sample-shape"),
    ("GlobalRandom", "deterministic-under-a-seed"),
    ("OwnSeed", "deterministic-under-a-seed"),
    ("Remembers", "deterministic-under-a-seed"),
    ("ClonesTheGenerator", "deterministic-under-a-seed"),
    ("Hotter", "draws-match-log-probs"),
    ("SkipsTheLast", "draws-match-log-probs"),
    ("FirstRowForAll", "rows-have-their-own-distribution"),
    ("SmoothsMasks", "masked-ids"),
    ("NaNMasks", "masked-ids"),
    ("TopTwo", "full-support"),
    ("Overflows", "extreme-logits"),
    ("NoGradient", "gradients"),
    ("NaNGradient", "gradients"),
]

ADAPTERS = [
    ("StartsMoved", "no-effect-at-start"),
    ("StartsTraining", "no-effect-at-start"),
    ("LeavesBaseTrainable", "only-the-adapter-is-trainable"),
    ("HidesHalf", "only-the-adapter-is-trainable"),
    ("NothingTrainable", "only-the-adapter-is-trainable"),
    ("DetachesHalf", "training-reaches-it"),
    ("MergesDouble", "merge-equals-unmerged"),
    ("MergesAgain", "merge-equals-unmerged"),
    ("MovedHasNoEffect", "merge-equals-unmerged"),
    ("Subtracts", "unmerge-is-exact"),
    ("StaysOn", "disabled"),
    ("StaysOffAfterAnError", "disabled"),
    ("FreezesAfterwards", "disabled"),
    ("SavesTheBase", "save-and-load"),
    ("LoadsHalf", "save-and-load"),
    ("WrapsAgain", "wraps-once"),
]

TRAINERS = [
    ("NaNMetric", "metrics"),
    ("NestedMetric", "metrics"),
    ("TensorMetric", "metrics"),
    ("CountsFromZero", "metrics"),
    ("NeverEnds", "metrics"),
    ("StartsOver", "metrics"),
    ("EndsAtOnce", "metrics"),
    ("NoStep", "weights-change"),
    ("Diverges", "weights-change"),
    ("Unseeded", "repeatable"),
    ("ReportsTime", "repeatable"),
    ("LeavesOutWeights", "resume-is-bit-equal"),
    ("LeavesOutOptimizer", "resume-is-bit-equal"),
    ("LeavesOutGenerator", "resume-is-bit-equal"),
    ("LeavesOutTorch", "resume-is-bit-equal"),
    ("LeavesOutTokens", "resume-is-bit-equal"),
    ("LeavesOutStep", "resume-is-bit-equal"),
    ("StateDraws", "resume-is-bit-equal"),
    ("StateOfTuples", "resume-is-bit-equal"),
    ("StateOfNumbers", "resume-is-bit-equal"),
    ("LeavesOutAdapter", "resume-with-adapter"),
    ("SharesState", "state-is-not-shared"),
    ("JudgesInPlace", "evaluate-changes-nothing"),
    ("LeavesEvalMode", "evaluate-changes-nothing"),
    ("JudgesWithTorch", "evaluate-changes-nothing"),
    ("JudgesWithPython", "evaluate-changes-nothing"),
    ("JudgesOnOtherExamples", "evaluate-changes-nothing"),
    ("JudgesBeyondOne", "evaluate-changes-nothing"),
    ("HidesWhatJudgingChanges", "judging-between-steps"),
    ("ThawsAll", "frozen-parameters-stay-frozen"),
    ("DecaysAll", "frozen-parameters-stay-frozen"),
    ("TrainsNothing", "frozen-parameters-stay-frozen"),
    ("MeansOfMeans", "gradients-do-not-depend-on-the-split"),
    ("SamplesWithoutText", "samples"),
    ("SamplesTooMany", "samples"),
    ("SamplesWithTorch", "samples"),
    ("RolloutsOfTensors", "rollouts"),
    ("NoRollouts", "rollouts"),
    ("SavesPickledFiles", "files"),
    ("SavingDraws", "files"),
    ("LoadsNothing", "files"),
]


@pytest.mark.parametrize(("config", "check", "message"), CONFIGS)
def test_configs(config, check, message):
    fail("sampler", mutant("sampler", "tiny", config=f"mutant_parts:{config}"), check, message)


@pytest.mark.parametrize(
    ("kind", "changes", "check", "message"),
    [
        ("sampler", {"smoke": {"temprature": 1}}, "smoke-options", "did you mean 'temperature'"),
        ("sampler", {"smoke": {"temperature": 0}}, "smoke-options", "must be above 0"),
        ("sampler", {"target": "mutant_parts:Absent"}, "registered-names", "Absent"),
        ("sampler", {"target": "mutant_parts:__doc__"}, "registered-names", "must be a class"),
        ("task", {"data": "path"}, "registered-names", "data='path' is no option"),
        (
            "trainer",
            {"config": "mutant_parts:SilentConfig", "smoke": {}},
            "registered-names",
            "needs the option `steps`",
        ),
        ("sampler", {"config": "mutant_heavy_config:HeavyConfig"}, "config-is-light", "imports numpy"),
        ("sampler", {"config": "mutant_absent:Config"}, "config-is-light", "cannot be imported alone"),
    ],
)
def test_registrations(kind, changes, check, message):
    fail(kind, mutant(kind, "tiny", **changes), check, message)


@pytest.mark.parametrize(("name", "check"), TOKENIZERS)
def test_tokenizers(name, check):
    fail("tokenizer", mutant("tokenizer", "tiny", target=f"mutant_parts:{name}"), check)


@pytest.mark.parametrize(
    ("name", "message"), [("ShrinksEachTime", "decode(encode("), ("LosesEverything", "no text leaves anything")]
)
def test_tokenizers_that_are_lossier_than_they_say(name, message):
    part = mutant("tokenizer", "tiny", target=f"mutant_parts:{name}", provides=("text", "lossy"))
    fail("tokenizer", part, "round-trip", message)


@pytest.mark.parametrize(("name", "check"), TASKS)
def test_tasks(name, check, monkeypatch):
    monkeypatch.setattr("scratch_cli.testing.task_checks.SECONDS", 1.0)
    fail("task", mutant("task", "tiny", target=f"mutant_parts:{name}"), check)


@pytest.mark.parametrize(("name", "check"), MODELS)
def test_models(name, check):
    fail("model", mutant("model", LM, target=f"mutant_models:{name}"), check)


def test_word_vectors():
    fail("model", mutant("model", VECTORS, target="mutant_models:DetachedVectors"), "gradients", "extra.weight")


@pytest.mark.parametrize(("name", "check"), SAMPLERS)
def test_samplers(name, check):
    fail("sampler", mutant("sampler", "tiny", target=f"mutant_models:{name}"), check)


def test_a_sampler_that_is_not_as_deterministic_as_it_says():
    fail(
        "sampler", mutant("sampler", "tiny", provides=("deterministic",)), "deterministic-under-a-seed", "seed changes"
    )


@pytest.mark.parametrize(("name", "check"), ADAPTERS)
def test_adapters(name, check):
    fail("adapter", mutant("adapter", "tiny", target=f"mutant_models:{name}"), check)


@pytest.mark.parametrize(("name", "check"), TRAINERS)
def test_trainers(name, check):
    fail("trainer", mutant("trainer", "tiny", target=f"mutant_trainers:{name}"), check)


def test_every_check_has_a_mutant():
    checks = {
        "part": {check for _, check, _ in CONFIGS} | {"smoke-options", "registered-names", "config-is-light"},
        "tokenizer": {check for _, check in TOKENIZERS},
        "task": {check for _, check in TASKS},
        "model": {check for _, check in MODELS},
        "sampler": {check for _, check in SAMPLERS},
        "adapter": {check for _, check in ADAPTERS},
        "trainer": {check for _, check in TRAINERS},
    }
    for case in cases_of(None, standin_registry()):
        kind, _, check = case.id.split(":")
        assert check in checks[kind] | checks["part"], f"no mutant for {case.id}"
        assert case.summary.endswith("."), f"{case.id} does not say what it demands"


def test_mutants_differ_from_their_stand_ins_only_in_the_rule():
    """A mutant that fails everything proves nothing: most checks of a kind pass on most mutants."""
    part = mutant("sampler", "tiny", target="mutant_models:Hotter")
    registry = dataclasses.replace(standin_registry(), all_parts=(part,))
    failed = []
    for case in cases_of(None, registry):
        try:
            case()
        except CheckFailed:
            failed.append(case.id)
    assert failed == ["sampler:tiny:draws-match-log-probs"]
    assert "mutant_models" in sys.modules
