"""A real browser, without a screen, for pages that are to be looked at; tests skip where there is none."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

BROWSERS = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
BROWSER = next((path for path in BROWSERS if path), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

_HEIGHT = 1000  # of what a picture shows of a page


@dataclass(frozen=True)
class Look:
    """A page as a reader sees it.

    found: what `look.js` measured.  colours: how many points of a picture of its top have each colour.
    """

    found: dict[str, Any]  # any JSON
    colours: dict[tuple[int, ...], int]


def browse(page: Path, profile: Path, fragment: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Open `page` at a fragment, with options such as `--dump-dom`. profile: a folder for what the browser keeps."""
    assert BROWSER is not None
    # Each flag keeps a fresh headless browser from reaching for the network or a screen.
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run hide-scrollbars disable-sync"
    flags += " disable-background-networking disable-component-update"
    quiet = [f"--{flag}" for flag in flags.split()] + [f"--user-data-dir={profile}/profile"]
    command = [BROWSER, *quiet, *options, page.as_uri() + fragment]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def look_at(
    pages: Mapping[str, str], folder: Path, widths: Sequence[int], *, dark: bool
) -> dict[tuple[str, int], Look]:
    """Return how pages look at some widths, by name and width. pages: names of files in `folder`, with fragments.

    Each page is in a frame, since the window of a headless browser is never narrower than 500 points.
    """
    from PIL import Image

    places = [(name, width) for name in pages for width in widths]
    frames = "".join(
        f'<iframe title="{name} {width}" src="{escape(pages[name])}" '
        f'style="flex:none;border:0;width:{width}px;height:{_HEIGHT}px"></iframe>'
        for name, width in places
    )
    script = Path(__file__).with_name("look.js").as_uri()
    wall = folder / "wall.html"
    wall.write_text(f'<body style="margin:0;display:flex">{frames}<script src="{script}"></script>')
    across = sum(width for _, width in places)
    options = (
        f"--window-size={across},{_HEIGHT}",
        "--allow-file-access-from-files",  # so that the script can measure what is in the frames
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    )
    dom = browse(wall, folder, "", "--dump-dom", *options).stdout
    (found,) = re.findall(r'data-looks="([^"]*)"', dom)
    measured = json.loads(unescape(found))
    picture = folder / ("dark.png" if dark else "light.png")
    browse(wall, folder, "", f"--screenshot={picture}", *options)
    looks = {}
    with Image.open(picture) as image:
        left = 0
        for name, width in places:
            # Any: of an RGB image these are counts and triples
            points: Any = image.crop((left, 0, left + width, _HEIGHT)).convert("RGB").getcolors(1 << 24)
            looks[name, width] = Look(
                measured[f"{name} {width}"], {colour: count for count, colour in points}
            )
            left += width
    return looks
