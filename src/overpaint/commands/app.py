"""What the command `overpaint` takes; each of its commands imports what it needs when it runs."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from overpaint.errors import UserError, program
from overpaint.study import start

app = typer.Typer(
    help="What is done with a study beside running it, which `make study` and Snakemake do. Run it in the checkout.",
    no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)  # fmt: skip
Study = Annotated[str, typer.Option("--study", "-s", help="The study's file; by default that of config.yaml.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the study, whose file is studies/NAME.yaml.")],
    model: Annotated[str, typer.Option(help="A local Hugging Face folder, or owner/name on the hub.")],
    texts: Annotated[Path, typer.Option(help="A folder of forget, retain, prompts, plain_prompts, ... .jsonl.")],
    layer: Annotated[int | None, typer.Option(help="Block to aim at; by default at a fifth of them.")] = None,
) -> None:
    """Write a study of a model and texts of one's own, after checking them, with values of c that its norms suggest."""
    from overpaint.commands import making

    print(making.new(name, model, texts, layer))


@app.command()
def check(study: Annotated[str, typer.Argument(help="The study's file.")] = "") -> None:
    """Say what is wrong with a study, or what it runs, needs and may take."""
    from overpaint.commands import making

    print(making.told(making.planned(start.merged(study))))


@app.command()
def summary(study: Annotated[str, typer.Argument(help="The study's file.")] = "") -> None:
    """Print the main numbers of a study that has run, and where its pages are."""
    path = start.results(study) / "reports/summary.txt"
    if not path.is_file():
        raise UserError(f"There is no {path}: run the study first, with `make study` and its file as STUDY.")
    print(path.read_text(encoding="utf-8"), end="")


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run, such as rmu/layer=3/c=4/seed=0.")],
    question: Annotated[str, typer.Argument(help="Its id; by default the first that clearing gives back.")] = "",
    study: Study = "",
    model: Annotated[str, typer.Option(help="The base model; by default the first.")] = "",
) -> None:
    """Print the options of one question with their log-likelihoods under every state of a run."""
    from overpaint.commands import showing

    print(showing.show(start.results(study), run, question, model))


@app.command()
def pack(
    bundle: Annotated[Path, typer.Argument(help="The file to write.")] = Path("bundle.tar"),
    rules: Annotated[list[str] | None, typer.Argument(help="What they made; by default all.")] = None,
    study: Study = "",
) -> None:
    """Write the results of a study, and what they were made from, to a file for another machine."""
    _bundle("pack", str(start.results(study)), str(bundle), *(rules or []))


@app.command()
def unpack(
    bundle: Annotated[Path, typer.Argument(help="A file that `pack` wrote.")] = Path("bundle.tar"), study: Study = ""
) -> None:
    """Take over the results in a bundle, each as its job wrote it."""
    _bundle("unpack", str(bundle), str(start.results(study)))


@app.command()
def verify(study: Study = "") -> None:
    """Say whether the results of a study are as its jobs wrote them, from what is there."""
    _bundle("verify", str(start.results(study)))


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run, such as rmu/layer=3/c=4/seed=0.")],
    clearing: Annotated[str, typer.Argument(help="A clearing of one variant, or `none`.")] = "none",
    study: Study = "",
    model: Annotated[str, typer.Option(help="The base model; by default the first.")] = "",
) -> None:
    """Have Snakemake write a run, cleared or not, as a Hugging Face folder, running first what that needs."""
    from overpaint.commands import making

    folder = making.export_path(making.planned(start.merged(study)), run, clearing, model)
    command = [sys.executable, "-m", "snakemake", "--logger", "overpaint", "--cores", "all"]
    done = subprocess.run([*command, *([f"--configfile={study}"] if study else []), "--", folder])
    if done.returncode:
        raise UserError(f"{folder} was not written: Snakemake says above why.")
    print(folder)


def _bundle(*arguments: str) -> None:
    """`overpaint.jobs.bundle` as a program of its own says it."""
    from overpaint.jobs import bundle

    if status := bundle.main(*arguments):
        raise typer.Exit(status)


@program
def main(*arguments: str) -> None:
    """The command with its arguments; a mistake in them is one sentence."""
    try:
        status = app(list(arguments), prog_name="overpaint", standalone_mode=False)
    except TyperException as error:
        raise UserError(f"{error.format_message()} `overpaint --help` lists what there is.") from None
    if status:
        sys.exit(status)


def command() -> None:
    """The program."""
    sys.exit(main(*sys.argv[1:]))
