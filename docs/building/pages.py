"""Hooks of MkDocs: what pages link to in the repository becomes part of the site, and the API gets its pages.

On GitHub a link of a page leads anywhere in the repository. The site has a copy of what lies outside docs/, and a list of
files for each folder, so that the same links work in it.
"""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path

import overpaint
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

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
    for target in sorted({found for file in files.documentation_pages() for found in _targets(file)}):
        if target.is_dir():
            files.append(File.generated(config, _place(target), content=_listing(target)))
        elif not files.get_file_from_path(_place(target)):
            files.append(File.generated(config, _place(target), abs_src_path=str(target)))
    for name, content in api_pages().items():
        files.append(File.generated(config, f"api/{name}.md", content=content))
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
    pages = {name: f"# overpaint.{name}\n\n::: overpaint.{name}\n    options: {{show_root_heading: false}}\n" for name in FOLDERS}
    return {"index": f"{head}## Folders\n\n{listed}\n\n{small}\n"} | pages


def _line(name: str) -> str:
    """What a name at the top of the package is, and where."""
    thing = getattr(overpaint, name)
    folder = thing.__module__.split(".")[1]
    first = inspect.getdoc(thing).partition("\n\n")[0].replace("\n", " ")
    return f"- [`overpaint.{name}`]({folder}.md#{thing.__module__}.{name}): {first}"


def _targets(file: File) -> Iterator[Path]:
    """Folders and files outside docs/ that a page links to; a link to nothing is left for MkDocs to refuse."""
    for _, link, _ in LINK.findall(file.content_string):
        target = (Path(file.abs_src_path).parent / link).resolve()
        if target.is_dir() or (target.is_file() and DOCS not in target.parents):
            yield target


def _place(path: Path) -> str:
    """Where the site has a path of the repository."""
    place = path.relative_to(DOCS) if DOCS in path.parents else Path(OUTSIDE) / path.relative_to(ROOT)
    return str(place / "index.md") if path.is_dir() else str(place)


def _listing(folder: Path) -> str:
    """A page that lists the files of a folder and of those in it."""
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return f"# {folder.relative_to(ROOT)}\n\n" + "\n".join(f"- [{path}]({path})" for path in paths) + "\n"
