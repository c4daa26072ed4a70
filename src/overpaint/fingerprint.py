"""A fingerprint of the library code a script uses, blind to comments, docstrings and layout (standard library only)."""

import ast
import hashlib
from functools import cache
from os.path import relpath
from pathlib import Path

PACKAGE = Path(__file__).parent


def fingerprint(script: str | Path, *modules: str) -> str:
    """SHA-256 of `script` and of every overpaint module that it, or any of `modules`, imports at any remove."""
    files, waiting = set(), [Path(script).resolve(), *(_file(module) for module in modules)]
    while waiting:
        path = waiting.pop()
        if path not in files:
            files.add(path)
            waiting += _imports(path)
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda p: (p.name, relpath(p, PACKAGE))):
        digest.update(path.name.encode() + _code(path).encode())
    return digest.hexdigest()[:16]


@cache
def _code(path: Path) -> str:
    """The syntax tree of a file without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


@cache
def _imports(path: Path) -> tuple[Path, ...]:
    """Files of the overpaint modules that a file imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(file for name in names if name.split(".")[0] == "overpaint" and (file := _file(name)).is_file())


def _file(module: str) -> Path:
    """Where a module of the package would be."""
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
