"""Mixing in the Hugging Face Trainer: a subclass, plain `TrainingArguments`, and a collator.

Axes: B batch, T tokens, C classes.
"""

from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from amix.engine.base.errors import MixingError, UsageError
from amix.engine.extractor.folder import RelevanceKind
from amix.engine.mixing.attentionmix import AttentionMix
from amix.engine.mixing.checks import require_between, require_one_of
from amix.engine.mixing.losses import soft_cross_entropy
from amix.engine.mixing.mixer import Mixer
from amix.engine.mixing.partners import step_generator
from amix.engine.mixing.plan import as_targets
from amix.loaders.stream.dataset import RelevanceDataset
from amix.train.hf.checks import check_arguments, check_model, count_classes
from amix.train.hf.collator import RelevanceCollator
from amix.train.model.batch import to_device
from amix.train.model.classifier import takes_token_types
from amix.train.model.forward import require_site
from amix.train.objective.objective import Objective
from amix.train.objective.online import OnlineRelevance
from amix.train.options.config import RelevanceSource

__all__ = ["AmixTrainer", "RelevanceCollator"]

EXTRA = ("relevance", "content")  # read by the mixing, and not accepted by models


class AmixTrainer(Trainer):
    """`transformers.Trainer` for sequence classification, with mixing in the training steps.

    mixer: how batches are mixed; None = `AttentionMix()`.
    clean_weight: weight of the unmixed loss beside the mixed one, in [0, 1].
    multi_label: binary cross-entropy per class; labels are rows of class weights.
    relevance_source: `cache` = the batches' own; `online` = computed by the model in training, see `head`.
    head, relevance_kind: what is computed online, `0.mean` or the like, `received` or `cls`.
    Everything else is the Trainer's. Without data_collator a `RelevanceCollator` takes the padding of train_dataset,
    processing_class or the model.

    Partners and ratios come from (args.seed, the batch's number in the run, the rank), so a resumed run mixes as an
    undisturbed one does. Evaluation mixes nothing: its loss is the plain one. Label smoothing acts on the targets
    before they are mixed. Raises UsageError for options that cannot be right together, and for a model that
    `torch.compile` has wrapped. Weights that the model's checkpoint lacks are random, which is warned of.
    """

    model: Any  # a classifier, which the Trainer declares as a plain module
    data_collator: Any  # one that returns a Batch, where the Trainer declares a dict
    _signature_columns: Any  # a list of names, which the Trainer declares as None

    def __init__(
        self,
        model: nn.Module | None = None,  # the Trainer's own arguments, in its order
        args: TrainingArguments | None = None,
        data_collator: Any = None,  # noqa: ANN401  any function from samples to a batch
        train_dataset: Any = None,  # noqa: ANN401  torch's or datasets'
        eval_dataset: Any = None,  # noqa: ANN401  one of them, or several by name
        processing_class: Any = None,  # noqa: ANN401  a tokenizer, for one
        *,
        mixer: Mixer | None = None,
        clean_weight: float = 0.0,
        multi_label: bool = False,
        relevance_source: RelevanceSource = "cache",
        head: str = "0.mean",
        relevance_kind: RelevanceKind = "received",
        **trainer: Any,  # noqa: ANN401  the rest of the Trainer's arguments
    ) -> None:
        self.mixer = AttentionMix() if mixer is None else mixer
        if not isinstance(self.mixer, Mixer):
            raise UsageError(
                f"mixer is {mixer!r}; give one of amix's, such as AttentionMix() or WordMixup()."
            )
        require_between("clean_weight", clean_weight, 0.0, 1.0)
        require_one_of("relevance_source", relevance_source, get_args(RelevanceSource))
        if trainer.get("compute_loss_func") is not None:
            raise UsageError(
                "compute_loss_func cannot be used: the loss on mixed targets is AmixTrainer's own."
            )
        if args is not None:
            check_arguments(args, multi_label)
        self.clean_weight, self.multi_label = clean_weight, multi_label
        self.relevance_source, self.head, self.relevance_kind = relevance_source, head, relevance_kind
        self._objective: tuple[object, Objective] | None = None  # with the model that it was made for
        self._micro_batch = 0
        super().__init__(
            model,
            args,
            data_collator,
            train_dataset,
            eval_dataset,
            processing_class=processing_class,
            **trainer,
        )
        if self.args.device.type == "cpu":
            self.args.dataloader_pin_memory = False  # there is nothing to pin for, and torch would warn of it
        check_model(self.model)
        self.num_classes = count_classes(self.model, multi_label)
        self.label_names = ["labels"]
        # The Trainer then counts the targets of all batches of a step and leaves the division to `compute_loss`, so
        # that a last batch with fewer rows weighs less. The model itself is never given the count.
        self.model_accepts_loss_kwargs = True
        if data_collator is None:
            self.data_collator = self._default_collator()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],  # a batch of any collator
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, Any]:  # with the model's outputs
        """Return the loss of a batch: mixed while the model trains, plain otherwise.

        return_outputs: also return the model's outputs; {} for a mixed pass.
        num_items_in_batch: number of targets in all batches of the optimizer step; None = the mean over this batch.
        """
        if not model.training:
            return self._plain_loss(model, inputs, return_outputs)
        if inputs.get("labels") is None:
            raise MixingError(
                f"the batch has no labels, only {', '.join(inputs)}; mixing needs labels. "
                "RelevanceCollator takes them from a column labels, label or label_ids."
            )
        if self._needs_cache() and inputs.get("relevance") is None:
            raise MixingError(
                f"{type(self.mixer).__name__} needs relevance, and the batch has none. Train on "
                "RelevanceDataset(SHARDS, head='0.mean') with a RelevanceCollator, or take it from the model in "
                "training: AmixTrainer(..., relevance_source='online', head='0.mean')."
            )
        objective = self._objective_for(inputs)
        batch = to_device(inputs, inputs["labels"].device)
        with self.accelerator.autocast():
            plan = objective.plan(model, batch, self._generator())
            loss = objective.loss(model, batch, plan)
        if num_items_in_batch is not None:
            loss = loss * (inputs["labels"].numel() / num_items_in_batch)
            if self.args.average_tokens_across_devices:
                # Targets are counted over all ranks, whose gradients are averaged.
                loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],  # a batch of any collator
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Return loss, logits and labels as the Trainer does, of a batch without what only mixing reads."""
        inputs = self._model_inputs(inputs)
        step: tuple[Tensor | None, Tensor | None, Tensor | None] = super().prediction_step(
            model, inputs, prediction_loss_only, ignore_keys
        )
        return step

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401  differs between versions
        """Return the batches of the next optimizer step, and start counting them."""
        self._micro_batch = 0
        return super().get_batch_samples(*arguments, **named)

    def _set_signature_columns_if_needed(self) -> None:
        """Keep the columns that mixing reads when `remove_unused_columns` looks for those of the model."""
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            # With the key the collator can say which sample is wrong; other collators could not pad a string.
            key = ("key",) if isinstance(self.data_collator, RelevanceCollator) else ()
            self._signature_columns = [*(self._signature_columns or ()), *EXTRA, *key]

    def _default_collator(self) -> RelevanceCollator:
        """Return a collator that pads like the data, else the tokenizer, else the model."""
        if isinstance(self.train_dataset, RelevanceDataset):
            return RelevanceCollator(self.train_dataset)
        if self.processing_class is not None:
            return RelevanceCollator(self.processing_class)
        padding = getattr(self.model.config, "pad_token_id", None)
        if padding is None:
            raise UsageError("nothing says how to pad: pass data_collator=RelevanceCollator(tokenizer).")
        return RelevanceCollator(padding)

    def _needs_cache(self) -> bool:
        return "relevance" in self.mixer.needs and self.relevance_source == "cache"

    def _objective_for(self, inputs: Mapping[str, Any]) -> Objective:  # a batch of any collator
        """Return what is minimised, made at the first batch: only then is the model on the device it trains on."""
        # A trial of a hyperparameter search makes a new model.
        if self._objective is None or self._objective[0] is not self.model:
            if len(inputs["input_ids"]) > 1:
                require_site(self.model, to_device(inputs, inputs["input_ids"].device), self.mixer.sites)
            online = None
            if "relevance" in self.mixer.needs and self.relevance_source == "online":
                online = OnlineRelevance(self.model, self.head, self.relevance_kind)
            objective = Objective(
                mixer=self.mixer,
                num_classes=self.num_classes,
                multi_label=self.multi_label,
                clean_weight=self.clean_weight,
                label_smoothing=self.args.label_smoothing_factor,
                online=online,
            )
            self._objective = (self.model, objective)
        return self._objective[1]

    def _generator(self) -> torch.Generator:
        """Return what the next batch's plan is drawn from."""
        number = self.state.global_step * self.args.gradient_accumulation_steps + self._micro_batch
        self._micro_batch += 1
        # The batches are numbered through all epochs, so the epoch is left at 0.
        return step_generator(self.args.seed, 0, number, group=self.args.process_index)

    def _plain_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],  # a batch of any collator
        return_outputs: bool,
    ) -> Tensor | tuple[Tensor, Any]:  # with the model's outputs
        """Return the loss of unmixed rows. Models are not given the labels: they would guess the loss by dtype."""
        inputs = self._model_inputs(inputs)
        targets_BC = as_targets(inputs.pop("labels"), self.num_classes)
        outputs = model(**inputs)
        loss = soft_cross_entropy(outputs.logits, targets_BC, multi_label=self.multi_label)
        return (loss, outputs) if return_outputs else loss

    def _model_inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:  # a batch of any collator
        """Return the batch without what only mixing reads, and without token types for a model that has none."""
        left_out = EXTRA if takes_token_types(self.model) else (*EXTRA, "token_type_ids")
        return {name: value for name, value in inputs.items() if name not in left_out}
