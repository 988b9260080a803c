"""Relevance from queries and keys in Triton: the attention maps are never written to memory.

At 512 tokens a map takes 1 MB for each head and text, and all that is wanted of it is one number per column. So the
scores are computed twice, block by block: one pass finds the log-sum-exp of every row (Milakov and Gimelshein 2018,
arXiv 1805.02867), the other sums exp(score - log-sum-exp) over the rows of each column.

Axes: B batch, H heads, T tokens, D width of a head.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 64  # rows and columns of the scores that are computed at once
_STEP = 64  # lengths are rounded up to a multiple of it: Triton compiles once for each
_NARROWEST = 16  # of a matrix product


@triton.jit  # type: ignore[untyped-decorator]  # triton carries no types
def _row_log_sums(  # type: ignore[no-untyped-def]  # Triton's compiler reads the annotations, and knows its own only
    query,
    key,
    mask,
    log_sums,
    scale,
    stride_b,
    stride_h,
    stride_t,
    heads,
    tokens,
    width,
    padded_tokens: tl.constexpr,
    padded_width: tl.constexpr,
    precision: tl.constexpr,
    block: tl.constexpr,
):
    """Write log2(sum over real keys of 2^score) of every query. scale: includes log2(e)."""
    pair = tl.program_id(0)
    batch = pair // heads
    base = batch * stride_b + (pair % heads) * stride_h
    row = tl.program_id(1) * block + tl.arange(0, block)
    place = tl.arange(0, padded_width)
    inside = (row[:, None] < tokens) & (place[None, :] < width)
    query_QD = tl.load(query + base + row[:, None] * stride_t + place[None, :], mask=inside, other=0.0)
    largest_Q = tl.full((block,), float("-inf"), tl.float32)
    total_Q = tl.zeros((block,), tl.float32)
    for begin in range(0, padded_tokens, block):
        column = begin + tl.arange(0, block)
        inside = (column[:, None] < tokens) & (place[None, :] < width)
        key_KD = tl.load(key + base + column[:, None] * stride_t + place[None, :], mask=inside, other=0.0)
        is_real_K = tl.load(mask + batch * tokens + column, mask=column < tokens, other=0) != 0
        score_QK = tl.dot(query_QD, tl.trans(key_KD), out_dtype=tl.float32, input_precision=precision) * scale
        score_QK = tl.where(is_real_K[None, :], score_QK, float("-inf"))
        new_Q = tl.maximum(largest_Q, tl.max(score_QK, 1))
        anchor_Q = tl.where(new_Q == float("-inf"), 0.0, new_Q)  # no real key so far
        total_Q = total_Q * tl.exp2(largest_Q - anchor_Q) + tl.sum(tl.exp2(score_QK - anchor_Q[:, None]), 1)
        largest_Q = new_Q
    log_sum_Q = largest_Q + tl.log2(tl.maximum(total_Q, 1e-30))  # a text without a real token has no sum
    tl.store(log_sums + pair * tokens + row, log_sum_Q, mask=row < tokens)


@triton.jit  # type: ignore[untyped-decorator]  # as above
def _column_sums(  # type: ignore[no-untyped-def]  # as above
    query,
    key,
    mask,
    log_sums,
    relevance,
    scale,
    stride_b,
    stride_h,
    stride_t,
    heads,
    tokens,
    width,
    padded_tokens: tl.constexpr,
    padded_width: tl.constexpr,
    precision: tl.constexpr,
    block: tl.constexpr,
):
    """Write the sum over real queries of 2^(score - log sum) of every key, 0 at padding."""
    pair = tl.program_id(0)
    batch = pair // heads
    base = batch * stride_b + (pair % heads) * stride_h
    column = tl.program_id(1) * block + tl.arange(0, block)
    place = tl.arange(0, padded_width)
    inside = (column[:, None] < tokens) & (place[None, :] < width)
    key_KD = tl.load(key + base + column[:, None] * stride_t + place[None, :], mask=inside, other=0.0)
    is_real_K = tl.load(mask + batch * tokens + column, mask=column < tokens, other=0) != 0
    received_K = tl.zeros((block,), tl.float32)
    for begin in range(0, padded_tokens, block):
        row = begin + tl.arange(0, block)
        inside = (row[:, None] < tokens) & (place[None, :] < width)
        query_QD = tl.load(query + base + row[:, None] * stride_t + place[None, :], mask=inside, other=0.0)
        is_real_Q = tl.load(mask + batch * tokens + row, mask=row < tokens, other=0) != 0
        log_sum_Q = tl.load(log_sums + pair * tokens + row, mask=row < tokens, other=0.0)
        score_KQ = tl.dot(key_KD, tl.trans(query_QD), out_dtype=tl.float32, input_precision=precision) * scale
        # The log sums know nothing of padding, whose scores may be far above them.
        is_real_KQ = is_real_K[:, None] & is_real_Q[None, :]
        received_K += tl.sum(tl.exp2(tl.where(is_real_KQ, score_KQ - log_sum_Q[None, :], float("-inf"))), 1)
    tl.store(relevance + pair * tokens + column, received_K, mask=column < tokens)


def received_from(query_BHTD: Tensor, key_BHTD: Tensor, mask_BT: Tensor, scale: float) -> Tensor:
    """Return the attention that each token receives; equal to `relevance.received` of softmax(scale * Q K^T).

    query_BHTD, key_BHTD: float32, float16 or bfloat16, on one device, the last axis contiguous.
    mask_BT: 1 = real token.  Returns (B, H, T), float32; exactly 0 at padding. Sums are float32 whatever comes in.
    """
    if query_BHTD.stride() != key_BHTD.stride() or query_BHTD.stride(3) != 1:
        query_BHTD, key_BHTD = query_BHTD.contiguous(), key_BHTD.contiguous()
    batch, heads, tokens, width = query_BHTD.shape
    mask_BT = mask_BT.to(torch.int32).contiguous()
    log_sums_BHT = torch.empty((batch, heads, tokens), dtype=torch.float32, device=query_BHTD.device)
    relevance_BHT = torch.empty_like(log_sums_BHT)
    stride_b, stride_h, stride_t, _ = query_BHTD.stride()
    sizes = (scale / math.log(2.0), stride_b, stride_h, stride_t, heads, tokens, width)
    options = {
        "padded_tokens": triton.cdiv(tokens, _STEP) * _STEP,
        "padded_width": max(_NARROWEST, triton.next_power_of_2(width)),
        "precision": "ieee",  # TF32 would round float32 to 10 bits; half precision is not affected
        "block": _BLOCK,
    }
    grid = (batch * heads, triton.cdiv(tokens, _BLOCK))  # CUDA takes at most 65,535 of the second axis
    with torch.cuda.device_of(query_BHTD):  # Triton launches on the current GPU, whatever holds the tensors
        _row_log_sums[grid](query_BHTD, key_BHTD, mask_BT, log_sums_BHT, *sizes, **options)
        _column_sums[grid](query_BHTD, key_BHTD, mask_BT, log_sums_BHT, relevance_BHT, *sizes, **options)
    return relevance_BHT
