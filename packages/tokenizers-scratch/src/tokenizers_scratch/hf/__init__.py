"""Run any `tokenizer.json` of HF tokenizers with code that can be read.

A text goes through five steps, each a module here, and each a component named in the file:

| module | step |
|---|---|
| `added.py` | find added tokens, before and after normalisation |
| `normalizers.py`, with `charsmap.py` | rewrite the text between them |
| `pre_tokenizers.py` | cut it into words |
| `models.py` | cut each word into tokens: BPE, WordPiece, Unigram, WordLevel |
| `decoders.py` | and back: from tokens to text |

`aligned.py` is a text that remembers which characters it came from; `component.py` reads the file's objects, each
error with its place; `tokenizer.py` puts the steps together; `config.py` is what can be chosen.
"""
