"""The site of docs/: it builds without a warning, has every name and key, and loads nothing from elsewhere."""

import ast
import functools
import html
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.checkout import ROOT
from helpers.pages import Page

import overpaint
from overpaint.study.configuration import schema_of

pytestmark = pytest.mark.browser
PACKAGE = ROOT / "src/overpaint"
LOOKED_AT = ("index", "tutorial", "reading-results", "findings", "configuration", "errors", "api/index", "api/junk")
# What the theme's script asks for: only with diagrams, a repository's address, or in browsers of long ago; and the
# policy of the pages refuses it.
NAMED = {"unpkg.com", "api.github.com", "${e}"}
POLICY = "default-src 'self' file: data: blob: 'unsafe-inline'"


def build(folder: Path, *arguments: str, checkout: Path = ROOT) -> subprocess.CompletedProcess:
    """What `make docs` does, into a folder."""
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", folder, *arguments]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built from this checkout."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def elsewhere(page: str) -> list[str]:
    """What a page would load from elsewhere; links that a reader may follow are not loaded."""
    shown = re.sub(r"<a\b[^>]*>", "", page)
    return [link for link in Page(shown).links if re.match(r"(\w+:)?//", link or "")]


def test_pages_styles_and_scripts_name_nothing_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert elsewhere(text) == [] and (POLICY in html.unescape(text)), path
        assert 'class="mermaid"' not in text and 'data-md-component="source"' not in text
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*[\"']?(?:\w+:)?//", path.read_text(encoding="utf-8")), path
    for path in site.glob("assets/javascripts/*.js"):  # what pages name; it loads the search's words from beside it
        code = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert {*re.findall(r"https?://([^/\s\"'`)]+)", code)} <= NAMED, path


def test_what_is_loaded_from_elsewhere_would_be_seen():
    assert elsewhere('<script src="https://cdn.example/a.js"></script><a href="https://example.org">a</a>')
    assert elsewhere('<link href="//fonts.example/b.css">') and not elsewhere('<img src="../c.png">')


def test_a_link_to_nothing_stops_the_build(tmp_path):
    for name in ("mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("docs", "src"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs/errors.md").write_text("[a](absent.md) [b](running.md#absent) [c](../absent.yaml)\n")
    done = build(tmp_path / "site", checkout=tmp_path)
    told = [line for line in done.stderr.splitlines() if "WARNING" in line and "'errors.md'" in line]
    assert done.returncode and len(told) == 3, done.stderr


def public() -> set[str]:
    """Every public function and class of the package, methods and properties too, where no part begins with _."""
    names = set()
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        names |= {f"{module}.{name}" for name in defined(ast.parse(path.read_text(encoding="utf-8")))}
    return {name for name in names if not any(part.startswith("_") for part in name.split("."))}


def defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in defined(node))


def anchors(site: Path) -> set[str]:
    """What the pages of the API are about."""
    return {name for path in (site / "api").glob("*.html") for name in re.findall(r'id="([\w.]+)"', path.read_text())}


def test_every_public_name_is_in_the_api(site):
    wanted, there = public(), anchors(site)
    assert len(wanted) > 400 and wanted - there == set()
    assert public() | {"overpaint.absent.name"} - there, "one that is missing is noticed"
    assert "<code>basis</code>: orthonormal rows to project out" in (site / "api/junk.html").read_text(), "of a field"
    first = (site / "api/index.html").read_text()
    for name in overpaint.__all__:
        thing = getattr(overpaint, name)
        assert f"<code>overpaint.{name}</code>" in first and f'#{thing.__module__}.{name}"' in first
    (site / "api/junk.html").rename(site / "api/junk.away")
    missing = wanted - anchors(site)
    (site / "api/junk.away").rename(site / "api/junk.html")
    assert missing and all(name.startswith("overpaint.junk.") for name in missing)


def keys(part: object) -> set[str]:
    """All keys that the schema names anywhere."""
    if isinstance(part, list):
        return set().union(*map(keys, part))
    if not isinstance(part, dict):
        return set()
    own = set(part["properties"]) if isinstance(part.get("properties"), dict) else set()
    return own.union(*map(keys, part.values()))


def told(page: str) -> set[str]:
    """Words that a page shows as code, the last of a path such as `junk.position`."""
    return {text.split(".")[-1].split(":")[0] for text in re.findall(r"<code>([^<]+)</code>", page)}


def test_every_key_of_the_schema_is_in_the_configuration(site):
    wanted = keys(schema_of(ROOT / "workflow/schemas/config.schema.yaml"))
    page = (site / "configuration.html").read_text(encoding="utf-8")
    assert len(wanted) > 100 and wanted - told(page) == set()
    assert wanted - told(page.replace("damage_budget</code>", "</code>")) == {"damage_budget"}


@pytest.fixture(scope="module")
def address(site) -> Iterator[str]:
    """Where the site is served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("width", (390, 1400))
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_asks_for_nothing_elsewhere_and_fits(browser, address, name, width):
    page, complaints, requests = browser.new_page(viewport={"width": width, "height": 900}), [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{address}/{name}.html", wait_until="networkidle")
    assert complaints == [] and [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    page.close()


def test_the_policy_refuses_what_is_elsewhere(browser, address):
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{address}/index.html", wait_until="networkidle")
    page.evaluate("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
    page.wait_for_timeout(200)
    assert complaints and all("Content Security Policy" in text for text in complaints)
    page.close()


def test_what_is_asked_for_is_found(browser, address):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{address}/index.html")
    page.locator("input.md-search__input").fill("damage_budget")
    hit = page.locator(".md-search-result__item", has_text="Configuration")
    hit.first.wait_for(timeout=10_000)
    page.close()
