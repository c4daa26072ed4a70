"""What modules say of themselves, read without importing them: some load torch, and who plans a study only asks.

Standard library only.
"""

import ast
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


@cache
def declared(folder: str, name: str) -> dict[str, Any]:
    """{module: the literal that it assigns to `name`}, of those modules of a folder of the package that do."""
    literals = {}
    for path in _files(folder):
        for node in _tree(path).body:
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                literals[path.stem] = ast.literal_eval(node.value)
    return literals


@cache
def decorated(file: str, decorator: str) -> dict[str, dict[str, Any]]:
    """{function: keywords of its decorator}, of those functions of a file that have it, in their order."""
    return {
        node.name: {key.arg: ast.literal_eval(key.value) for key in call.keywords}
        for node in _tree(PACKAGE / file).body
        if isinstance(node, ast.FunctionDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and ast.unparse(call.func) == decorator
    }


@cache
def defining(folder: str, function: str) -> list[str]:
    """Those modules of a folder that define a function."""
    return [
        path.stem
        for path in _files(folder)
        if any(isinstance(node, ast.FunctionDef) and node.name == function for node in _tree(path).body)
    ]


def _files(folder: str) -> list[Path]:
    return sorted(path for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
