"""Notebooks become pages that load nothing."""

import ast
import sys

import nbformat
import pytest
from helpers.pages import NOTEBOOKS, check_page, execute
from helpers.synthetic import CONTROL, ONE, Tables

import overpaint
from overpaint.errors import UserError
from overpaint.report import PAGES


def test_a_notebook_becomes_a_page(folder, tmp_path):
    executed, page = execute(folder, tmp_path, "completions")
    shown = check_page(page)
    text = "".join(shown.text)
    assert CONTROL in text and "<script>alert(1)</script>" in text
    assert "finding.html" in shown.links
    assert [path.name for path in page.parent.iterdir()] == ["completions.html"]
    book = nbformat.read(executed, as_version=4)
    assert any(
        "synthetic" in cell.source for cell in book.cells if "injected-parameters" in cell.metadata.get("tags", [])
    )


def test_a_failed_notebook_leaves_its_log_and_no_page(folder, tmp_path):
    page = tmp_path / "reports" / "finding.html"
    page.parent.mkdir()
    page.write_text("an older page")
    with pytest.raises(UserError, match=r"finding.ipynb failed .* no rows of study 'absent'.*finding.ipynb") as caught:
        execute(folder, tmp_path, "finding", study="absent")
    assert "\x1b" not in str(caught.value)
    assert not page.exists()
    book = nbformat.read(tmp_path / "logs" / "finding.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in book.cells for output in cell.get("outputs", []))


def test_the_kernel_is_the_running_interpreter(folder, tmp_path):
    book = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}}
    )
    code = "import sys, warnings, overpaint\nwarnings.warn('loud')\nprint(sys.executable, overpaint.__file__)"
    book.cells = [
        nbformat.v4.new_code_cell("tables = primary = study = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(code),
    ]
    nbformat.write(book, tmp_path / "who.ipynb")
    _, page = execute(folder, tmp_path, "who", tmp_path / "who.ipynb")
    text = "".join(check_page(page).text)
    assert sys.executable in text and overpaint.__file__ in text
    assert "loud" not in text  # warnings stay in the executed notebook


def test_the_pages_open_with_their_answers(tmp_path_factory, tmp_path):
    folder = Tables(**ONE).write(tmp_path_factory.mktemp("one"))
    _, page = execute(folder, tmp_path, "depth")
    shown = check_page(page)
    text = "".join(shown.text)
    assert text.index("What stays below?") < text.index("(the shallow part)") < text.index("How it was measured")
    assert shown.tags.count("figure") == 7 and "depth.html" in shown.links


def test_every_notebook_is_a_page():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(PAGES)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stripped_and_only_call(path, folder):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    assert book.metadata.kernelspec.name == "python3"
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    parameters, imports, *calls = code
    assert "parameters" in parameters.metadata.tags
    assert {"tables", "primary", "study"} <= {line.split(" =")[0] for line in parameters.source.splitlines()}
    space = {"tables": folder, "primary": "topic", "study": "synthetic"}
    exec(imports.source, space)
    assert len(calls) > 3
    for call in calls:
        [statement] = ast.parse(call.source).body
        section = eval(ast.unparse(statement.value.func), space)
        assert ast.unparse(statement.value.args[0]) == "views" and section.__doc__, call.source
