"""Byte-pair encoding in machine code that numba makes of the Python in this folder, once a machine.

What a kernel computes is what the plain Python of `bpe.py`, `bpe_merge.py` and `bpe_train.py` computes; tests hold the
two equal. Only `loading.py` may be imported without care: everything else here imports numba.

| module | what |
|---|---|
| `loading.py` | whether a job is worth loading the kernels for, and what happens where numba does not work |
| `compiling.py` | the decorators, and where machine code is kept on disk |
| `machine.py` | the few instructions that Python has no word for |
| `classes.py` | letter, number, white space or other, for every code point |
| `splitting.py` | where a word ends, for each pattern |
| `words.py` | a hash table keyed by the bytes of a word |
| `merging.py` | the ids of a word that is not in the table |
| `encoding.py` | documents to ids |
| `counting.py` | documents to counts of words |
| `learning.py` | counts of words to merges |
"""
