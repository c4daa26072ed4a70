"""Files of the checkout that other tools read say what the project itself does."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
LINT = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint: ")[2].partition("\n\n")[0]


def hooks() -> dict[str, str]:
    """{hook: its command} of pre-commit."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return {hook["id"]: hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}


def linted(command: str) -> bool:
    """Whether `make lint` checks what a command mends."""
    checks = [line.replace(" --check", "").removesuffix(" .") for line in LINT.splitlines()]
    return any(line.strip().startswith(command.replace(" --fix", "").replace(" --check", "")) for line in checks)


def broken(text: str, folder: Path) -> list[str]:
    """Links of a page to nothing in the checkout, as on GitHub."""
    links = re.findall(r"\]\(([^)#\s:]+)(?:#[\w-]*)?\)", text)
    return [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda path: path.name)
def test_no_link_in_the_checkout_is_broken(path):
    assert broken(path.read_text(encoding="utf-8"), path.parent) == []
    assert broken("[a](absent.md#b) [c](https://example.org)", ROOT) == ["absent.md"]


def test_hooks_before_a_commit_are_what_make_lint_checks():
    assert len(hooks()) == 4 and all(map(linted, hooks().values()))
    assert not linted("python -m black")


def test_the_catalogue_of_workflows_is_told_what_is_there():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))["usage"]
    assert usage["software-stack-deployment"]["conda"] and usage["report"] and (ROOT / "Snakefile").is_file()
    assert "conda:" in (ROOT / "workflow/rules/unlearn.smk").read_text(encoding="utf-8")
    assert "report:" in (ROOT / "Snakefile").read_text(encoding="utf-8")
    assert not usage["mandatory-flags"]["flags"]


def test_the_container_has_the_python_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    [base] = [line for line in (ROOT / "Containerfile").read_text(encoding="utf-8").splitlines() if line[:5] == "FROM "]
    assert f"python:{project['tool']['overpaint']['conda']['python']}." in base


def test_templates_of_issues_have_a_name_and_what_they_are_about():
    for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.md"):
        head = yaml.safe_load(path.read_text(encoding="utf-8").split("---\n")[1])
        assert head["name"] and head["about"]
