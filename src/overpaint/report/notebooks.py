"""Pages from notebooks: executed, and their outputs in one HTML file."""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import nbformat
import papermill
from markupsafe import Markup
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from overpaint.errors import UserError
from overpaint.report.pages import page_html, write_text


@contextmanager
def _own_kernel() -> Iterator[None]:
    """Make `python3` mean the running interpreter, with this package and without user start-up files."""
    with tempfile.TemporaryDirectory() as folder:
        source = str(Path(__file__).parents[2])
        paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": {"PYTHONPATH": os.pathsep.join(paths), "IPYTHONDIR": folder},
        }
        file = Path(folder, "kernels", "python3", "kernel.json")
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(spec), encoding="utf-8")
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = folder if before is None else os.pathsep.join([folder, before])
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)


def execute_report(notebook: Path, parameters: Mapping[str, object], executed: Path, page: Path, title: str) -> None:
    """Execute a notebook with the running interpreter and write its page.

    Args:
        notebook: the notebook, stripped of outputs, with a cell tagged `parameters`.
        parameters: values for that cell; paths become text, absolute or relative to the working directory.
        executed: where the executed notebook goes, failed or not: it is the log.
        page: the HTML page; it does not exist after a failure.
        title: the page's title.

    Raises UserError, with the failed cell's error, where a cell fails.
    """
    page, executed = Path(page), Path(executed)
    page.unlink(missing_ok=True)
    executed.parent.mkdir(parents=True, exist_ok=True)
    values = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in parameters.items()}
    try:
        with _own_kernel():
            papermill.execute_notebook(str(notebook), str(executed), values, kernel_name="python3", progress_bar=False)
    except PapermillExecutionError as error:
        raise UserError(
            f"Report {Path(notebook).name} failed in its cell {error.exec_count} with {error.ename}: "
            f"{_no_ansi(error.evalue)}; the executed notebook with the traceback is {executed}."
        ) from error
    write_text(page, page_html(title, page.name, body=_body(executed)))


def _no_ansi(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _body(executed: Path) -> Markup:
    """Prose and outputs of an executed notebook as markup, without code, prompts and warnings."""
    book = nbformat.read(executed, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "code":  # warnings stay in the executed notebook
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        embed_images=True,
    )
    return Markup(exporter.from_notebook_node(book)[0])
