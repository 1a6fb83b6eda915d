"""`python -m tokenizers_scratch` is the command `tokenize`, also where there is no `scratch`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 2 usage, 3 bad data, 4 a library is missing, 130 stopped."""
    try:
        from tokenizers_scratch.commands.group import tokenize
    except ModuleNotFoundError as error:
        return _failed(error)
    import click

    try:
        code = tokenize.main(arguments, prog_name="python -m tokenizers_scratch", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    code = getattr(error, "exit_code", None)
    if not isinstance(code, int) and not isinstance(error, OSError):
        raise error
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    sys.exit(main())
