"""Options of SDPO and of the warm start that teaches a model to read its teacher's prompts. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from align_scratch.config.policy_gradient import PolicyGradientConfig
from align_scratch.config.sft import SFTConfig
from papers_scratch.config.checks import at_least, one_of, option, positive, refuse, within

STYLES: Mapping[str, Mapping[str, str]] = {
    "compact": {
        "reprompt_template": "{solution}{feedback}{prompt}",
        "solution_template": "{prompt}{successful_previous_attempt}\n",
        "feedback_template": "{prompt}{feedback_raw}\n",
    },
    "sentences": {
        "reprompt_template": "{prompt}{solution}{feedback}\n\nCorrectly solve the original question.\n",
        "solution_template": "\n\nA correct solution:\n\n{successful_previous_attempt}",
        "feedback_template": "\n\nFeedback on an earlier attempt that failed:\n\n{feedback_raw}",
    },
}
"""compact: a few symbols, for models that learn from nothing. sentences: for models that read English; the last line of
the first template is the official code's, the rest is worded here."""
FIELDS = {
    "reprompt_template": ("prompt", "solution", "feedback"),
    "solution_template": ("prompt", "successful_previous_attempt"),
    "feedback_template": ("prompt", "feedback_raw"),
}
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, kw_only=True)
class RepromptConfig:
    """How a teacher's prompt is put together."""

    style: Literal["compact", "sentences"] = option(
        "compact", "the templates below where they are not given: compact for tiny models, or sentences"
    )
    reprompt_template: str | None = option(None, "with {prompt}, {solution} and {feedback}; none = as style says")
    solution_template: str | None = option(
        None, "with {successful_previous_attempt} and {prompt}; none = as style says"
    )
    feedback_template: str | None = option(None, "with {feedback_raw} and {prompt}; none = as style says")
    remove_thinking: bool = option(True, "leave <think> ... </think> out of demonstrations")

    def check_templates(self) -> None:
        one_of(self, "style", *STYLES)
        for name, allowed in FIELDS.items():
            template = getattr(self, name)
            if template is None:
                continue
            found = _BRACES.findall(template)
            if odd := [field for field in found if field not in allowed]:
                refuse(name, template, f"text with the fields {', '.join(f'{{{field}}}' for field in allowed)} only",
                       f"{{{odd[0]}}} is none of them")  # fmt: skip
            needed = "prompt" if name == "reprompt_template" else allowed[1]
            if needed not in found:
                refuse(name, template, f"text with {{{needed}}} in it", "the teacher would not see it")

    def template(self, name: str) -> str:
        return getattr(self, name) or STYLES[self.style][name]


@dataclass(frozen=True, kw_only=True)
class SDPOConfig(RepromptConfig, PolicyGradientConfig):
    """Trainer `sdpo`: self-distilled policy optimization (arXiv:2601.20802)."""

    steps: int = option(100, "rollout batches")
    minibatches: int = option(8, "optimizer updates that a rollout batch is split into")
    epochs_per_batch: int = option(1, "passes over a rollout batch")

    alpha: float = option(1.0, "divergence: 0 = forward KL, 1 = reverse KL, between = generalised Jensen-Shannon")
    distillation: Literal["full", "topk", "sampled"] = option(
        "full", "compare: full = the whole vocabulary, topk = the student's top_k, sampled = the sampled token"
    )
    top_k: int = option(100, "distillation topk: how many")
    add_tail: bool = option(True, "distillation topk: all other tokens as one more; false = leave them out")
    is_clip: float | None = option(2.0, "cap of the ratio new/old policy that weighs a token; none = no weight")
    loss_norm: Literal["mean", "tokens"] = option(
        "mean", "mean = over all sequences of their means, left-out ones counting 0; tokens = over distilled tokens"
    )

    teacher: Literal["ema", "trust_region", "frozen", "live"] = option(
        "frozen",
        "ema = moving average of the policy, trust_region = start mixed with it, frozen = start, live = itself",
    )
    teacher_update_rate: float = option(0.05, "the policy's share: in each update (ema) or in the mix (trust_region)")
    mix: Literal["logit", "prob"] = option("logit", "teacher trust_region: what is mixed, logits or probabilities")

    rehearsal: float = option(
        0.0, "weight of imitating what a prompt shows, so that an average does not forget to read it"
    )

    success_threshold: float = option(1.0, "reward from which a completion is a demonstration")
    exclude_own_success: bool = option(True, "a completion is never its own demonstration")
    demonstration: Literal["first", "random"] = option("first", "which of several successes of the group is shown")
    include_feedback: bool = option(
        False, "show what the task says of a failed completion, to a model that can read it"
    )
    feedback_only_without_solution: bool = option(True, "only where there is no demonstration")
    max_feedback_chars: int = option(2000, "longer feedback is cut to this")
    max_reprompt_tokens: int = option(10240, "longest prompt of the teacher")
    reprompt_truncation: Literal["right", "left", "error"] = option("right", "where a longer one is cut")

    stop_on_collapse: bool = option(
        False, "end with an error where successes have halved and the student agrees, is short or runs away"
    )

    distillation_weight: float = option(1.0, "weight of the distillation loss")
    policy_weight: float = option(0.0, "weight of a clipped policy-gradient loss beside it, which the paper has not")
    clip_low: float = option(0.2, "policy_weight: a ratio below 1 - clip_low earns no further gradient")
    clip_high: float = option(0.28, "policy_weight: a ratio above 1 + clip_high earns no further gradient")
    scale_rewards: Literal["group", "batch", "none"] = option(
        "group", "policy_weight: divide advantages by the standard deviation of: group, batch or none"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_templates()
        at_least(self, 1, "minibatches", "epochs_per_batch", "top_k", "max_feedback_chars", "max_reprompt_tokens",
                 why="it is a count")  # fmt: skip
        within(self, 0.0, 1.0, "alpha", "teacher_update_rate", "clip_low", why="it is a share")
        at_least(self, 0, "distillation_weight", "policy_weight", "rehearsal", why="it cannot be negative")
        positive(self, "is_clip", "clip_high", why="0 would change nothing, and infinity everything")
        one_of(self, "distillation", "full", "topk", "sampled")
        one_of(self, "loss_norm", "mean", "tokens")
        one_of(self, "teacher", "ema", "trust_region", "frozen", "live")
        one_of(self, "mix", "logit", "prob")
        one_of(self, "demonstration", "first", "random")
        one_of(self, "reprompt_truncation", "right", "left", "error")
        one_of(self, "scale_rewards", "group", "batch", "none")
        self.refuse_group_of_one()
        self.refuse_more_minibatches_than_prompts(self.minibatches)
        if self.distillation == "sampled" and self.alpha != 1.0:
            refuse("alpha", self.alpha, "1.0 with distillation=sampled",
                   "from one sampled token only the reverse KL's gradient can be estimated without bias")  # fmt: skip
        if self.distillation_weight == self.policy_weight == 0:
            refuse("distillation_weight", 0.0, "above 0 where policy_weight is 0", "there is nothing to learn from")


@dataclass(frozen=True, kw_only=True)
class HintedSFTConfig(RepromptConfig, SFTConfig):
    """Trainer `hinted-sft`: imitation in which some prompts show their solution, as a teacher's do."""

    imitate: Literal["demonstration", "answer"] = option(
        "demonstration", "what is imitated: demonstrations, or answers where a task's demonstrations show another"
    )
    hints: float = option(0.5, "share of the demonstrations whose prompt shows a solution to read")
    feedback: float = option(0.0, "share of the demonstrations whose prompt shows what was said of a failed attempt")

    attempt: Literal["other", "changed"] = option(
        "other", "whose failure that is: other = another problem's solution, changed = its own with one word replaced"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_templates()
        one_of(self, "attempt", "other", "changed")
        within(self, 0.0, 1.0, "hints", "feedback", why="it is a share")
        one_of(self, "imitate", "demonstration", "answer")
        if self.hints + self.feedback > 1:
            refuse("feedback", self.feedback, f"at most 1 - hints ({1 - self.hints})", "both are shares of one whole")
