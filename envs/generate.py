"""Write envs/<rule>.yaml from the extras of pyproject.toml; with --check only say which files differ from them."""

import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {"archive", "browser", "cluster", "dev", "docs"}  # extras that are no rule's
FILE = """\
# Made by `make envs` from the extra {rule} of pyproject.toml.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python={python}
"""


def environments(root: Path = ROOT) -> dict[Path, str]:
    """{file: its text} of every rule's environment."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    versions = dict(requirement.split("==") for requirement in settings["project"]["dependencies"])
    extras, conda = settings["project"]["optional-dependencies"], settings["tool"]["overpaint"]["conda"]
    rules = [rule for rule in extras if rule not in OTHERS]
    return {root / f"envs/{rule}.yaml": text(rule, extras[rule], versions, conda) for rule in rules}


def text(rule: str, packages: list[str], versions: dict[str, str], conda: dict[str, Any]) -> str:
    """An environment file: conda-forge's names at the project's versions."""
    lines = [f"  - {conda['names'].get(name, name)}={versions[name]}\n" for name in packages]
    return FILE.format(rule=rule, python=conda["python"]) + "".join(sorted(lines))


def differing(wanted: dict[Path, str], root: Path = ROOT) -> list[Path]:
    """Files that are missing, edited by hand, or of no extra."""
    missing_or_edited = [
        path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    return missing_or_edited + sorted(set((root / "envs").glob("*.yaml")) - set(wanted))


def main() -> None:
    """Bring the files in line with pyproject.toml, or end with the names of those that are not."""
    wanted = environments()
    if "--check" in sys.argv[1:]:
        names = ", ".join(f"envs/{path.name}" for path in differing(wanted))
        sys.exit(f"Not what pyproject.toml says: {names}; change its extras and run `make envs`." if names else 0)
    for path in differing(wanted):
        path.write_text(wanted[path], encoding="utf-8") if path in wanted else path.unlink()


if __name__ == "__main__":
    main()
