"""The languages whose parts of speech can be told, for the CLI too: nothing heavy is imported here."""

from typing import Literal

Language = Literal["en", "de", "nl"]
