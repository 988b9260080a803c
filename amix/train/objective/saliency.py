"""Saliency: how much the loss depends on each word embedding, from one backward pass.

Axes: B batch, T tokens, D width.
"""

import torch
from torch import Tensor

from amix.engine.mixing.losses import soft_cross_entropy
from amix.engine.mixing.plan import as_targets
from amix.loaders.stream.batch import Batch
from amix.train.model.classifier import Model
from amix.train.model.forward import forward
from amix.train.model.network import unwrapped


def saliency(model: Model, batch: Batch, *, multi_label: bool = False) -> Tensor:
    """Return the norm of the unmixed loss's gradient at every word embedding, (B, T) float32, 0 at padding.

    Per row divided by the row's largest, as SSMix does (Yoon et al. 2021, section 2.2). The model stays in its mode
    (the source's own saliency passes have dropout too), and no parameter's gradient is touched.
    model: a transformers sequence classifier.  batch: a loader's, with labels, on the model's device.
    """
    network = unwrapped(model)  # parameters get no gradient, so processes have nothing to exchange
    words: list[Tensor] = []

    def cut(module: object, inputs: object, output: Tensor) -> Tensor:
        del module, inputs
        words.append(output.detach().requires_grad_())
        return words[-1]

    handle = network.get_input_embeddings().register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits_BC = forward(network, batch)
            targets_BC = as_targets(batch["labels"], logits_BC.shape[1])
            # Multiplied by the rows, because the gradient of their mean could vanish in half precision.
            loss = soft_cross_entropy(logits_BC, targets_BC, multi_label=multi_label) * len(logits_BC)
    finally:
        handle.remove()
    (gradient_BTD,) = torch.autograd.grad(loss, words[-1])
    norm_BT: Tensor = gradient_BTD.float().norm(dim=2) * batch["attention_mask"]
    peak_B1 = norm_BT.amax(dim=1, keepdim=True)
    return norm_BT / torch.where(peak_B1 > 0, peak_B1, 1.0)
