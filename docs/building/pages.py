"""Hooks of MkDocs: what pages link to in the repository becomes part of the site, and the API gets its pages.

On GitHub a link of a page leads anywhere in the repository. In the site the same link leads to a copy of the file or
to a list of the folder's files, and one to a folder of the package to its part of the API.
"""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import overpaint

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src/overpaint"
OUTSIDE = "repository"  # where the site has what is not in docs/
CARRYING_ON = ("CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(\]\()([^)#\s:]+)(#[\w-]*)?\)")  # no address: that has a colon
# Folders of the package, as its docstring lists them.
FOLDERS = dict(re.findall(r"^(\w+) {2,}(\w.*)$", inspect.getdoc(overpaint), re.MULTILINE))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to outside docs/, lists of the folders that they link to, and the pages of the API."""
    for name in CARRYING_ON:
        files.append(File.generated(config, _place(ROOT / name), abs_src_path=str(ROOT / name)))
    for name, content in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=content))
    linked = {found for file in files.documentation_pages() for found in _targets(file)}
    folders = {path for path in linked if path.is_dir() and not files.get_file_from_path(_place(path))}
    for path in sorted(linked - folders | {path for folder in folders for path in _below(folder)}):
        if not files.get_file_from_path(_place(path)):
            files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    for path in sorted(folders):
        files.append(File.generated(config, _place(path), content=_listing(path)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API behind the others."""
    config.nav.append({"Python": [{"overpaint": "api/index.md"}, *({name: f"api/{name}.md"} for name in FOLDERS)]})
    return config


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    """Let links lead to where the site has what they name."""
    if not page.file.abs_src_path:
        return markdown
    here, folder = Path(page.file.abs_src_path).parent, os.path.dirname(page.file.src_uri)

    def led(link: re.Match) -> str:
        place = os.path.relpath(_place((here / link[2]).resolve()), folder)
        return f"{link[1]}{place}{link[3] or ''})"

    return LINK.sub(led, markdown)


def api_pages() -> dict[str, str]:
    """{name: text}: the names that the package has at its top, and a page for each of its folders."""
    names = "\n".join(map(_line, overpaint.__all__))
    head = f"# overpaint\n\n`import overpaint` has these names; all others are in its folders.\n\n{names}\n\n"
    small = "\n\n".join(f"::: overpaint.{name}" for name in ("declared", "errors"))
    listed = "\n".join(f"- [`overpaint.{name}`]({name}.md): {what}" for name, what in FOLDERS.items())
    only = "\n    options: {show_root_heading: false}\n"
    pages = {name: f"# overpaint.{name}\n\n::: overpaint.{name}{only}" for name in FOLDERS}
    return {"index": f"{head}## Folders\n\n{listed}\n\n{small}\n"} | pages


def _line(name: str) -> str:
    """What a name at the top of the package is, and where."""
    thing = getattr(overpaint, name)
    folder = thing.__module__.split(".")[1]
    page = folder if folder in FOLDERS else "index"
    first = inspect.getdoc(thing).partition("\n\n")[0].replace("\n", " ")
    return f"- [`overpaint.{name}`]({page}.md#{thing.__module__}.{name}): {first}"


def _targets(file: File) -> Iterator[Path]:
    """Files and folders that a written page links to; a link to nothing is left for MkDocs to refuse."""
    for _, link, _ in LINK.findall(file.content_string if file.abs_src_path else ""):
        target = (Path(file.abs_src_path).parent / link).resolve()
        if target.exists():
            yield target


def _place(path: Path) -> str:
    """Where the site has a path of the repository."""
    if path.is_dir() and PACKAGE in (path, path.parent):
        return f"api/{'index' if path == PACKAGE else path.name}.md"
    place = path.relative_to(DOCS) if DOCS in path.parents else Path(OUTSIDE) / path.relative_to(ROOT)
    return str(place / "index.md") if path.is_dir() else str(place)


def _listing(folder: Path) -> str:
    """A page that lists the files of a folder and of those in it."""
    listed = "\n".join(f"- [{path}]({path})" for path in (path.relative_to(folder) for path in _below(folder)))
    return f"# {folder.relative_to(ROOT)}\n\n{listed}\n"


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
