"""What comes next: the command that usually follows, and how to go on after an end that came too early."""

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from amix.cli.output import notice
from amix.engine.base.kinds import Kind, children
from amix.train.run.files import PREDICTIONS

SAID = "How to go on was said."


def next_step(*words: object) -> None:
    """Name the command that usually comes next, in a line on stderr. Words in capitals are for the user to fill in."""
    notice(f"Next: {shlex.join(map(str, words))}")


def step_after(kind: Kind, folder: str | Path) -> None:
    """Name the command that usually comes after the one that wrote `folder`."""
    match kind:
        case "fit" if (Path(folder) / "report.html").is_file():
            open_page(Path(folder) / "report.html")
        case "fit":
            notice("Next: the command that began it, which goes on where it stopped.")
        case "extractor":
            next_step("amix", "precompute", "CORPUS", "SHARDS", "--extractor", folder)
        case "cache":
            next_step("amix", "train", folder, "RUN", "--model", "MODEL", "--dev", "SHARDS")
        case "folder of caches":
            inside = [name for name, each in children(Path(folder)).items() if each == "cache"]
            if "train" in inside:
                next_step("amix", "compare", folder, "OUT", "--model", "MODEL")
            else:
                next_step("amix", "info", Path(folder, inside[0]))
        case "run" if not Path(folder, PREDICTIONS).is_dir():
            notice("Next: the command that began it, with --resume.")
        case "comparison" if not Path(folder, "comparison.json").is_file():
            notice("Next: the command that began it, which goes on where it stopped.")
        case "run" | "comparison":
            next_step("amix", "report", folder)
        case "model":
            next_step("amix", "export", folder, "EXTRACTOR")
        case "corpus":
            next_step("amix", "precompute", folder, "SHARDS", "--extractor", "EXTRACTOR")
        case "unfinished cache":
            notice("Next: the command that began it, which goes on where it stopped.")
        case "checkpoint":
            notice("Next: the command that began its run, with --resume.")
        case "analysis":
            open_page(Path(folder) / "analysis.html")
        case "ranking":
            next_step("amix", "train", "SHARDS", "RUN", "--model", "MODEL", "--head", "HEAD")


def open_page(page: Path) -> None:
    """Say that a page is to be opened next."""
    notice(f"Next: open {page} in a browser; it needs no network.")


@contextlib.contextmanager
def said_how_to_go_on(message: Callable[[str], str]) -> Iterator[None]:
    """Say how to go on when Ctrl-C, or the reader of the output, ends the block.

    message: returns the line, given what ended it. SIGTERM and SIGHUP are for `signals_end`.
    """
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError) as end:
        notice(message("Ctrl-C" if isinstance(end, KeyboardInterrupt) else "the reader of its output"))
        end.add_note(SAID)
        raise


def interrupted(end: BaseException) -> str:
    """Return the last line of an interrupted command, which says how to go on unless it was said before."""
    return "Interrupted." + (
        "" if SAID in getattr(end, "__notes__", ()) else " The same command begins anew."
    )
