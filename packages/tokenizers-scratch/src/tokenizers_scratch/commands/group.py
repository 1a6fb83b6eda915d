"""The group `tokenize`."""

from __future__ import annotations

import click

from tokenizers_scratch.commands.compare import compare
from tokenizers_scratch.commands.decode import decode
from tokenizers_scratch.commands.encode import encode
from tokenizers_scratch.commands.prepare import prepare
from tokenizers_scratch.commands.train import train
from tokenizers_scratch.commands.view import view


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def tokenize() -> None:
    """Train tokenizers, use them, look at what they do, and make data for training models."""


for _command in (train, encode, decode, view, compare, prepare):
    tokenize.add_command(_command)
