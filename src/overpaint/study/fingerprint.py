"""A fingerprint of the library code that a script or a notebook uses, blind to comments, docstrings and layout.

Standard library only.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from os.path import relpath
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def fingerprint(script: str | Path, *others: str | Path) -> str:
    """SHA-256 of `script` and of every overpaint module that it, or any of `others`, imports at any remove.

    others: files of further scripts or notebooks, and names of modules; a package stands for all of its modules.
    """
    digest = hashlib.sha256()
    for path in sorted(files(script, *others), key=lambda p: (p.name, relpath(p, PACKAGE))):
        digest.update(path.name.encode() + _read(path)[0].encode())
    return digest.hexdigest()[:16]


def files(script: str | Path, *others: str | Path) -> set[Path]:
    """The files whose code counts."""
    paths, waiting = set(), [Path(script).resolve()]
    for other in others:
        waiting += [other.resolve()] if isinstance(other, Path) else _below(other)
    while waiting:
        path = waiting.pop()
        if path not in paths:
            paths.add(path)
            waiting += _read(path)[1]
    return paths


def _tree(path: Path) -> ast.Module:
    """The syntax tree of a file, of a notebook that of its code cells."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return ast.parse(text)


@cache
def _read(path: Path) -> tuple[str, tuple[Path, ...]]:
    """The syntax tree of a file without docstrings, and files of the modules that it imports.

    With those come the packages that they lie in.
    """
    tree, names = _tree(path), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    places = {place for name in names if name.split(".")[0] == "overpaint" for place in _places(name)}
    return ast.dump(tree), tuple(sorted(place for place in places if place.is_file()))


def _places(name: str) -> Iterator[Path]:
    """Where a module and the packages that it lies in would be: importing it runs them all."""
    parts = name.split(".")
    return (_file(".".join(parts[:end])) for end in range(1, len(parts) + 1))


def _below(name: str) -> list[Path]:
    """The file of a module, of a package those of all its modules."""
    path = _file(name)
    return sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]


def _file(module: str) -> Path:
    """Where a module of the package would be."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
