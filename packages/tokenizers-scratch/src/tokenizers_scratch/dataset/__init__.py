"""Token ids of many documents on disk, for training models: `prepare` writes them, `TokenDataset` reads them.

| module | what |
|---|---|
| `manifest.py` | what a data set's `dataset.json` holds, and how it is checked |
| `survey.py` | how source files are divided into shards |
| `shard.py` | writing one shard |
| `prepare.py` | writing all of them, in several processes, again after an interruption; training and validation apart |
| `locking.py` | one writer a folder |
| `reader.py` | reading |

Needs numpy, which the modules here import, and no other one of the package does.
"""
