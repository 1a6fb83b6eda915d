"""Files of other tools, read with suspicion and written so that those tools give the same ids.

| module | what |
|---|---|
| `tokenizer_json.py` | the `tokenizer.json` of HF tokenizers, for byte-level BPE |
| `tokenizer_json_kinds.py` | the same for our other tokenizers |
| `tokenizer_json_pieces.py` | those of them that are made of scored pieces |
| `tokenizer_json_parts.py` | what all of these files are put together from |
| `gpt2_files.py`, one level up | `vocab.json` with `merges.txt`, for byte-level BPE |
| `tiktoken_ranks.py` | the `.tiktoken` files of tiktoken, for byte-level BPE |
| `sentencepiece_model.py` | the `.model` files of sentencepiece, as they are |
| `sentencepiece_file.py` | our SentencePiece tokenizer from them, and back |
| `oniguruma.py` | the regular expressions of HF tokenizers in the words of `regex` |
| `protobuf.py` | as much of the protobuf wire format as `.model` files need |
"""
