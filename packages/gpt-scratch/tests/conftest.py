"""One thread for every test here: exactness is promised for one, and small matrices gain nothing from more."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
