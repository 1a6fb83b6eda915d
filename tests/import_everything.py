"""Import every module of one package and assert that others are absent. A program, run by the isolated sessions:

    python import_everything.py gpt_scratch tokenizers_scratch embeddings_scratch ...

It runs before any test tool is installed, so that a module cannot lean on what pytest happens to bring along.
"""

import importlib
import importlib.util
import pkgutil
import sys


def main() -> int:
    package, *forbidden = sys.argv[1:]
    present = [name for name in forbidden if importlib.util.find_spec(name) is not None]
    if present:
        print(f"{package}: installed alone, yet these can be imported: {', '.join(present)}", file=sys.stderr)
        return 1
    root = importlib.import_module(package)
    modules = [package]
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            modules.append(module.name)
    print(f"{package}: {len(modules)} modules imported with declared dependencies only")
    return 0


if __name__ == "__main__":
    sys.exit(main())
