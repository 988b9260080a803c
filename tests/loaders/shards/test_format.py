import io
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amix.engine.base.errors import ShardError
from amix.loaders.precompute.batching import Budget, length_batches
from amix.loaders.shards.codes import decode, encode
from amix.loaders.shards.npy import HEADER_BYTES, npy_header, parse_npy
from amix.loaders.shards.tar import tar_header


@given(
    st.sampled_from(["|u1", "<u2", "<u4", "<f2", "<f4"]),
    st.integers(0, 9),
    st.one_of(st.none(), st.integers(0, 9)),
)
def test_headers_are_read_by_numpy_and_by_us(dtype: str, rows: int, columns: int | None) -> None:
    shape = (rows,) if columns is None else (rows, columns)
    array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    data = npy_header(array.dtype, shape) + array.tobytes()
    assert len(data) == HEADER_BYTES + array.nbytes
    for read in (np.load(io.BytesIO(data), allow_pickle=False), parse_npy(data, "member")):
        assert read.dtype == array.dtype
        assert read.shape == shape
        assert read.tolist() == array.tolist()


@given(st.binary(max_size=300))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(ShardError, match="member"):
        parse_npy(data, "member")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').getpid(),), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999999, 999999999999999999), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
    ],
)
def test_hostile_headers_are_refused(header: str) -> None:
    data = b"\x93NUMPY\x01\x00\x76\x00" + header.encode().ljust(117) + b"\n" + bytes(4)
    with pytest.raises(ShardError, match="member"):
        parse_npy(data, "member")


@given(st.from_regex(r"[0-9]{12}\.[a-z_]{1,20}(\.npy)?", fullmatch=True), st.integers(0, 2**32))
def test_tar_headers_are_what_tarfile_writes(name: str, size: int) -> None:
    ours = tarfile.TarInfo.frombuf(tar_header(name, size), "ascii", "strict")
    assert (ours.name, ours.size, ours.mode, ours.mtime, ours.uid, ours.type) == (
        name,
        size,
        0o644,
        0,
        0,
        tarfile.REGTYPE,
    )
    theirs = tarfile.TarInfo(name)
    theirs.size = size
    assert tar_header(name, size) == theirs.tobuf(tarfile.USTAR_FORMAT)


@given(
    st.lists(st.integers(1, 512), max_size=60), st.sampled_from([512, 2048]), st.sampled_from([2**12, 2**18])
)
def test_batches_hold_every_text_once_within_the_budgets(
    lengths: list[int], max_tokens: int, max_scores: int
) -> None:
    batches = list(length_batches(lengths, Budget(tokens=max_tokens, scores=max_scores)))
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[position] for position in batch)
        assert longest == lengths[batch[-1]]
        assert len(batch) == 1 or (
            len(batch) * longest <= max_tokens and len(batch) * longest**2 <= max_scores
        )


@given(st.lists(st.floats(0, 512, width=32), min_size=1, max_size=40))
def test_the_square_root_code_keeps_small_values(values: list[float]) -> None:
    relevance = np.array([values], np.float32)
    stored, scale = encode(relevance, "uint8")
    back = decode(stored, scale)
    # Half a step of the code, in the square root's domain.
    top = np.sqrt(relevance.max())
    assert np.all(np.abs(np.sqrt(back) - np.sqrt(relevance)) <= top / 510 * 1.001 + 1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_values_that_are_no_relevance_are_not_stored(value: float) -> None:
    with pytest.raises(ShardError, match="NaN, infinite or negative"):
        encode(np.array([[1.0, value]], np.float32), "float16")


def test_values_beyond_float16_are_refused_with_the_option() -> None:
    with pytest.raises(ShardError, match="--dtype float32"):
        encode(np.array([[1e6]], np.float32), "float16")
