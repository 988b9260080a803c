"""How much attention each token receives, from one layer's attention map.

Axes: B batch, H heads, T tokens.
"""

from torch import Tensor


def received(attention_BHTT: Tensor, mask_BT: Tensor) -> Tensor:
    """Attention that each token receives, summed over real queries (docs/architecture.md, section 4, rule 1).

    attention_BHTT: softmax rows (row = query, column = key).  mask_BT: 1 = real token.
    Returns (B, H, T), float32, >= 0; exactly 0 at padding; every head sums to the number of real tokens.
    """
    mask_BT = mask_BT.float()
    # A matrix product rather than multiply and sum: the map is read once and nothing of its size is written.
    received_BHT = (mask_BT[:, None, None, :] @ attention_BHTT.float()).squeeze(-2)
    return received_BHT * mask_BT[:, None, :]


def cls_received(attention_BHTT: Tensor, mask_BT: Tensor) -> Tensor:
    """Attention that each token receives from the first token, times the number of real tokens.

    Shapes, dtype and range as in `received`, whose scale it shares: every head sums to the number of real
    tokens.
    """
    mask_BT = mask_BT.float()
    count_B = mask_BT.sum(dim=1)
    return attention_BHTT[:, :, 0, :].float() * (mask_BT * count_B[:, None])[:, None, :]
