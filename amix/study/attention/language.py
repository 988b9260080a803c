"""The languages for which there is a part-of-speech tagger. Nothing heavy is imported here, since the CLI needs it."""

from typing import Literal

Language = Literal["en", "de", "nl"]
