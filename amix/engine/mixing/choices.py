"""What the mixers' options may be, as types. Imports nothing heavy, since the command line reads them too."""

from typing import Literal

PartnerChoice = Literal["random", "other-class", "same-class", "similar-length"]
LabelWeight = Literal["ratio", "mass"]
Special = Literal["drop", "keep"]
Tail = Literal["keep", "drop"]
Pad = Literal["keep", "zero"]
