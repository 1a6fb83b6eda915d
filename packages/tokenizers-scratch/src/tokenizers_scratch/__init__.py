"""Tokenizers from first principles: text <-> ids, without torch.

Import the part you want from its own module: `tokenizers_scratch.byte`, `.char`, `.bpe`.
"""
