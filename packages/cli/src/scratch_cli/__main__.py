"""`python -m scratch_cli` is `scratch`."""

from __future__ import annotations

import sys

from scratch_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
