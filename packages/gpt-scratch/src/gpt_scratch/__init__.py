"""Decoder language models from first principles, and their pretraining.

`model.GPT` is a GPT-2 style decoder, `bigram.Bigram` the smallest language model there is, `pretrain.Pretrain` the
training loop. Nothing is imported here, so that listing the parts costs no torch.
"""
