"""Tokenizers in machine code, which numba makes of the Python in this folder, once a machine.

What a kernel computes, plain Python outside of this folder computes too; tests hold the two equal. Importing a module
imports numpy, but numba only if something has to be compiled; `loading.py` and `disk.py` import neither. Of the
functions with a decorator of `compiling.py`, Python calls only those that are an `entry`.

| module | what |
|---|---|
| `loading.py` | whether a job is worth loading the kernels for, and what happens where numba does not work |
| `compiling.py` | the decorators |
| `machine_code.py`, `disk.py` | how machine code is made, kept and called; where it is kept |
| `machine.py`, `intrinsics.py` | the few instructions that Python has no word for |
| `arrays.py` | types |

Byte-level BPE (`bpe.py`, `bpe_merge.py`, `bpe_train.py`):

| module | what |
|---|---|
| `encoder.py`, `trainer.py` | what Python calls: texts to ids, texts to merges, with threads |
| `documents.py` | texts as bytes, and in pieces for threads |
| `classes.py` | letter, number, white space or other, for every code point |
| `splitting.py`, `blocks.py` | where words end: for any text, and for 64 bytes of ASCII at once |
| `words.py` | a hash table keyed by the bytes of a word |
| `encoding.py` | documents to ids |
| `merging.py`, `long_words.py`, `ranks.py` | the ids of a word that is not in the table |
| `counting.py` | documents to counts of words |
| `learning.py`, `pair_heap.py` | counts of words to merges |

The others:

| module | what |
|---|---|
| `sentencepieces.py` | counts of words to sentencepiece's merges, by `learning.py` |
| `wordpieces.py`, `pairs.py` | counts of words to WordPiece's merges |
| `unigram.py`, `lattices.py`, `substrings.py` | counts of words to the pieces of a Unigram model |
| `parts.py` | texts to counts of what stands between spaces |
| `flat.py` | words as arrays |
"""
