"""Files of other tools, read with suspicion and written so that those tools give the same ids.

| module | what |
|---|---|
| `tokenizer_json.py` | the `tokenizer.json` of HF tokenizers, for byte-level BPE |
| `gpt2_files.py`, one level up | `vocab.json` with `merges.txt`, for byte-level BPE |
| `tiktoken_ranks.py` | the `.tiktoken` files of tiktoken, for byte-level BPE |
| `sentencepiece_model.py` | the `.model` files of sentencepiece |
| `protobuf.py` | as much of the protobuf wire format as `.model` files need |
"""
