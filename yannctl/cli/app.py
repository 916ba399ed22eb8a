"""The `yannctl` command: its sub-commands, and how their errors read.

Exit codes: 0 done, 1 the thing checked does not hold, 2 bad usage or bad input, 130 interrupted.
"""

import sys

import typer

from yannctl import __version__
from yannctl.errors import YannctlError

from .analysis import analyse
from .assurance import certify, falsify
from .benchmarks import bench
from .bridge import hil_app
from .demonstration import demo
from .evaluation import evaluate
from .exports import pil_app
from .laws import export_app, solve
from .machine import doctor
from .sweeps import sweep
from .training import train
from .tuning import tune
from .verification import verify

app = typer.Typer(
    name="yannctl",
    help="From a plant, or A, B, Q, R, to an exact neural controller that is tuned behind a gate and runs on a chip.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(demo)
app.command()(solve)
app.command()(verify)
app.command()(analyse)
app.command()(train)
app.command()(sweep)
app.command()(certify)
app.command()(falsify)
app.command("eval")(evaluate)
app.command()(tune)
app.add_typer(export_app, name="export")
app.add_typer(hil_app, name="hil")
app.add_typer(pil_app, name="pil")
app.command()(bench)
app.command()(doctor)


def _show_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"yannctl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool | None = typer.Option(
        None, "--version", callback=_show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Take the options that stand before a sub-command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error is one line on standard error and an exit code, never a traceback.

    Args:
        arguments: words after `yannctl`; None takes those of the process.
    """
    try:
        code = app(args=arguments, standalone_mode=False)
    except typer.TyperException as error:
        text = error.format_message().replace("Value error, ", "")
        if not text:  # no command: the help is already there
            sys.exit(2)
        _fail(text, hint=_hint(error))
    except YannctlError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    if code == 130:  # typer, too, turns Ctrl-C into this code
        print("yannctl: interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, hint: str = "") -> None:
    one_line = " ".join(text.split())
    print(f"yannctl: {one_line}{hint}", file=sys.stderr)
    sys.exit(2)


def _hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""
