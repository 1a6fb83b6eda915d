"""Row-wise AdaGrad: one step size a word, for gradients that touch few rows.

Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization" (2011), with one
accumulator for each row of a table instead of each number, as in Lerer et al., "PyTorch-BigGraph" (2019):

    a_r <- a_r + mean(g_r ** 2)        x_r <- x_r - lr g_r / sqrt(a_r)

word2vec's own plain SGD takes one pair at a time, where a batch adds up hundreds of gradients of a frequent word: over
the 80 or so characters of a character tokenizer it then diverges at learning rates that are too low for words.
Dividing by what a row has received makes one learning rate fit vocabularies of every size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class RowAdagrad:
    """Updates named parameters of one or more dimensions from sparse or dense gradients."""

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.sums = {name: torch.zeros(len(p), device=p.device) for name, p in self.parameters.items()}  # (rows,)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update from the gradients in `.grad`; parameters without one stay as they are."""
        for name, parameter in self.parameters.items():
            gradient = parameter.grad
            if gradient is None:
                continue
            if gradient.is_sparse:
                gradient = gradient.coalesce()
                rows, values = gradient.indices()[0], gradient.values()  # (r,), (r, ...)
            else:
                rows, values = torch.arange(len(parameter), device=parameter.device), gradient
            sums = self.sums[name][rows] + values.float().reshape(len(values), -1).pow(2).mean(dim=1)  # (r,)
            self.sums[name][rows] = sums
            scale = lr * sums.clamp_min(torch.finfo(sums.dtype).tiny).rsqrt()  # a row without gradient: 0 * finite
            parameter.index_add_(0, rows, values * -scale.view(-1, *[1] * (values.dim() - 1)).to(values.dtype))

    def zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        return {name: sums.clone() for name, sums in self.sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for name, sums in self.sums.items():
            sums.copy_(state[name])
