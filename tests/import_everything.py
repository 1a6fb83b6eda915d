"""Import every module of one package and assert that others are absent. A program, run by the isolated sessions:

    python import_everything.py gpt_scratch tokenizers_scratch embeddings_scratch ...

It runs before any test tool is installed, so that a module cannot lean on what pytest happens to bring along. Modules
that need a library which only an extra of the package installs are counted, not imported.
"""

import importlib
import importlib.metadata
import importlib.util
import pkgutil
import re
import sys


def main() -> int:
    package, *forbidden = sys.argv[1:]
    present = [name for name in forbidden if importlib.util.find_spec(name) is not None]
    if present:
        print(f"{package}: installed alone, yet these can be imported: {', '.join(present)}", file=sys.stderr)
        return 1
    root = importlib.import_module(package)
    modules = [package]
    extra: list[str] = []
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name not in optional(package):
                    raise
                extra.append(module.name)
            else:
                modules.append(module.name)
    print(f"{package}: {len(modules)} modules imported with declared dependencies only")
    if extra:
        print(f"{package}: need an extra: {', '.join(extra)}")
    return 0


def optional(package: str) -> set[str]:
    """What only the extras of a package's distribution install."""
    required = importlib.metadata.requires(package.replace("_", "-")) or []
    return {re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" in line}


if __name__ == "__main__":
    sys.exit(main())
