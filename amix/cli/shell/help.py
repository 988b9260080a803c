"""Help that lists the options of a command in groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

# Headings, and the parameters below them, those that are used most first.
Groups = Mapping[str, Sequence[str]]

TRAINING: Groups = {
    "Data": (
        *("model", "dev", "evals", "samples", "subset_seed", "shuffle", "window", "bucket_batches"),
        *("label_noise", "noise_kind"),
    ),
    "Mixing": (
        *("method", "head", "p", "preset", "level", "alpha", "strength", "clean_weight", "partner"),
        *("label_weight", "sharpness", "special", "tail", "relevance_source", "group_size"),
        *("max_lambda", "pad", "layers", "span_share"),
    ),
    "Optimisation": (
        *("epochs", "lr", "batch_size", "seed", "patience", "gradient_accumulation", "warmup_ratio"),
        *("weight_decay", "max_grad_norm", "label_smoothing", "ensemble"),
    ),
    "Hardware": (
        *("device", "threads", "mixed_precision", "gradient_checkpointing", "compile"),
        *("eval_batch_size", "read_workers", "prefetch_batches"),
    ),
    "Output": (
        *("config_file", "resume", "checkpoint_steps", "checkpoints_kept", "log_steps"),
        *("as_json", "debug", "help"),
    ),
}
_REST = "Other options"


class GroupedCommand(click.Command):
    """A command whose help lists its options under headings.

    What is in none of the groups is listed last.  note: a last paragraph.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  as click declares them
        groups: Groups,
        note: str = "",
        **options: Any,  # noqa: ANN401  as click declares them
    ) -> None:
        super().__init__(*args, **options)
        self._groups, self._note = groups, note

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each with its help."""
        records = {
            # click gives its own option another name in each version.
            "help" if "--help" in param.opts else param.name: param.get_help_record(ctx)
            for param in self.get_params(ctx)
            if isinstance(param, click.Option)
        }
        left = [name for name in records if not any(name in names for names in self._groups.values())]
        for heading, names in {**self._groups, _REST: left}.items():
            lines = [record for name in names if (record := records.get(name)) is not None]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)
        if self._note:
            formatter.write_paragraph()
            formatter.write_text(self._note)
