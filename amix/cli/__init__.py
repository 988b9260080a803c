"""The command `amix`: a group whose commands load when they are called, and the way errors are shown.

Help must be quick, so this module imports no heavy package, and no command before it is called.
"""

import difflib
import errno
import importlib
import os
import sys
import traceback
from typing import Any, cast

import click

from amix import __version__
from amix.cli.output import notice
from amix.cli.shell.steps import interrupted
from amix.cli.shell.streams import open_streams, reader_is_gone
from amix.engine.base.errors import AmixError

# Name -> the line in `amix --help`, kept here so that help loads no command. The module is amix/cli/NAME.py.
COMMANDS = {
    "fit": "Make a classifier and a page about it from a corpus, in one go.",
    "doctor": "Report versions, devices and problems of the installation.",
    "demo": "Run the whole path on a small built-in corpus.",
    "export": "Freeze an encoder into a relevance extractor.",
    "precompute": "Run an extractor over a corpus and write a cache of shards.",
    "train": "Train a classifier on a cache, with or without mixing.",
    "label": "Label a cache with what the models of runs say, to train a student on it.",
    "compare": "Train several methods over seeds and sample counts, and report intervals.",
    "select": "Rank the heads of a cache by how well they suit its labels.",
    "analyse": "Show what each head of a cache attends to.",
    "inspect": "Show which tokens of a text receive attention, and how it mixes with another.",
    "report": "Write a page about a run or a comparison.",
    "info": "Say what a folder is and what it holds.",
    "verify": "Check a folder for damage.",
    "repack": "Copy caches with fewer heads, merged, or in shards of another size.",
    "push": "Send a cache to the Hub or another store.",
}

INTERRUPTED = 130  # what a shell reports for a program ended by Ctrl-C


class LazyGroup(click.Group):
    """A click group that imports a command when it is called, and reports errors as sentences."""

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  as click declares it
        """Run the command line."""
        open_streams()
        # Each attempt to reach the Hub would be a line. The error at the end says it once.
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        return super().main(*args, **options)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command `cmd_name`; None when there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"amix.cli.{cmd_name}")
        command = cast(click.Command, module.command)
        if not any(option.name == "debug" for option in command.params):
            command.params.append(_debug_option())  # so that it may stand before or after the command's name
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is a usage error that names the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else f" There are: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command '{name}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """Create the context, without colour where NO_COLOR is set, which click itself ignores."""
        if os.environ.get("NO_COLOR"):
            extra.setdefault("color", False)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command and turn whatever it raises into a line on stderr and an exit code."""
        # Read once, when PyTorch is loaded. Threads that wait busily for each other take, where another program has one
        # of the cores, several times as long as a single thread.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a pipe that its reader has closed is noticed here, not when the interpreter ends
            return result
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort) as end:
            _explain(ctx, interrupted(end))
            ctx.exit(INTERRUPTED)
        except AmixError as error:
            _explain(ctx, f"Error: {error}")
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno == errno.EPIPE and reader_is_gone():
                raise  # click then ends without a message
            _explain(ctx, f"Error: {error}")
            ctx.exit(1)
        except Exception as error:  # whatever happens, a user sees a sentence
            hint = "" if _wants_debug(ctx) else " Run the command again with --debug to see where."
            _explain(ctx, f"Error: unexpected {type(error).__name__}: {error}.{hint}")
            ctx.exit(1)


def _note_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_root().meta["amix.debug"] = True


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_note_debug,
        help="Show the traceback of an error.",
    )


def _wants_debug(ctx: click.Context) -> bool:
    return bool(ctx.find_root().meta.get("amix.debug"))


def _explain(ctx: click.Context, line: str) -> None:
    if _wants_debug(ctx):
        notice(traceback.format_exc().rstrip())
    notice(line)


@click.group(
    cls=LazyGroup, params=[_debug_option()], context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="amix", message="%(prog)s %(version)s")
def main() -> None:
    """Attention-guided mixup for text.

    \b
    amix fit         corpus             -> a classifier and a page, by these three in one go
    amix export      encoder            -> extractor/
    amix precompute  corpus, extractor  -> shards/
    amix train       shards, model      -> run/
    """  # noqa: D301  (\b is click's mark for a paragraph that is not to be re-wrapped)
