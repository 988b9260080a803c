"""The extractor as a torch.export archive (`model.pt2`)."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from amix.exporters.capture import quiet_torch


def write_pt2(program: ExportedProgram, path: Path) -> None:
    """Write `program`, as `capture` made it, to `path`."""
    with quiet_torch():
        torch.export.save(program, path)
