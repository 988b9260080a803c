import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amix.engine.base.errors import HeadError, ShardError, UsageError
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.shards.verify import verify
from amix.loaders.stream.dataset import RelevanceDataset
from tests.loaders.conftest import contents
from tests.loaders.fixtures import assert_same
from tests.loaders.forge import forge, layout_of

LENGTHS = np.random.default_rng(1).integers(1, 30, 50).tolist()
KINDS = {
    "class ids": layout_of(),
    "bytes": layout_of(heads=6, dtype="uint8"),
    "pairs with texts": layout_of(token_types=True, text=True),
    "class weights": layout_of(classes=3),
    "no labels": layout_of(cls=False),
}


def tars(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.tar"))]


@pytest.mark.parametrize("kind", KINDS)
def test_other_shards_hold_the_same_samples_and_go_back_to_the_same_bytes(tmp_path: Path, kind: str) -> None:
    source = forge(tmp_path / "source", LENGTHS, KINDS[kind], rejects=(3, 16, 17, 49))
    manifest = repack([source], tmp_path / "small", RepackOptions(samples_per_shard=7))
    assert len(manifest.shards) == 8
    assert verify(tmp_path / "small", deep=True) == []
    one, two = RelevanceDataset(source, head="mean"), RelevanceDataset(tmp_path / "small", head="mean")
    assert len(one) == len(two) == 46
    for number in range(len(one)):
        assert_same(one[number], two[number])
    rejected = list(one.manifest.rejects())
    assert list(two.manifest.rejects()) == rejected
    assert (tmp_path / "small" / "rejects.jsonl").read_bytes() == (source / "rejects.jsonl").read_bytes()
    repack([tmp_path / "small"], tmp_path / "back", RepackOptions(samples_per_shard=16))
    assert tars(tmp_path / "back") == tars(source)


def test_fewer_heads_in_bytes(tmp_path: Path) -> None:
    source = forge(tmp_path / "source", [10 * length for length in LENGTHS], layout_of(heads=36))
    manifest = repack([source], tmp_path / "slim", RepackOptions(heads="0,3.1", dtype="uint8"))
    assert manifest.heads == ((0, 0), (0, 1), (3, 1))
    assert manifest.tar_bytes < sum(map(len, tars(source))) / 2
    assert verify(tmp_path / "slim", deep=True) == []
    before, after = (RelevanceDataset(folder, head="3.1") for folder in (source, tmp_path / "slim"))
    for number in range(len(before)):
        one, two = before[number]["relevance"], after[number]["relevance"]
        assert np.abs(np.sqrt(one) - np.sqrt(two)).max() <= np.sqrt(one.max()) / 500
    with pytest.raises(HeadError, match="layer 0: heads 0, 1; layer 3: head 1"):
        RelevanceDataset(tmp_path / "slim", head="3.0")


def test_several_caches_become_one_by_class_names(tmp_path: Path) -> None:
    one = forge(tmp_path / "one", LENGTHS[:20], rejects=(4,), names=("a", "b", "c"))
    two = forge(tmp_path / "two", LENGTHS[20:], rejects=(0,), names=("c", "b", "a"), per_shard=9)
    manifest = repack([one, two], tmp_path / "both", RepackOptions(samples_per_shard=11))
    assert manifest.label_names == ("a", "b", "c")
    assert [row for row, _ in manifest.rejects()] == [4, 20]
    assert verify(tmp_path / "both", deep=True) == []
    both = RelevanceDataset(tmp_path / "both", head="0.1")
    parts = [RelevanceDataset(folder, head="0.1") for folder in (one, two)]
    place = 0
    for base, part in zip((0, 20), parts, strict=True):
        for number in range(len(part)):
            want, got = part[number], both[place]
            assert int(got["key"]) == int(want["key"]) + base
            assert part.manifest.label_names is not None
            assert manifest.label_names[got["labels"]] == part.manifest.label_names[want["labels"]]
            np.testing.assert_array_equal(got["relevance"], want["relevance"])
            np.testing.assert_array_equal(got["input_ids"], want["input_ids"])
            place += 1
    assert place == len(both)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fingerprint": "1" * 64}, "another extractor"),
        ({"layout": layout_of(heads=4)}, "another set of heads"),
        ({"layout": layout_of(classes=3)}, "another kind of labels"),
        ({"layout": layout_of(cls=False)}, "another kind of labels"),
        ({"layout": layout_of(token_types=True)}, "another second texts"),
        ({"names": ("a", "b")}, "other classes"),
        ({"names": ("a", "b", "c", "d")}, "other classes"),
    ],
)
def test_caches_that_do_not_fit_together_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    one, two = forge(tmp_path / "one", LENGTHS[:5]), forge(tmp_path / "two", LENGTHS[:5], **options)
    with pytest.raises(ShardError, match=f"two: has {message} than .*one"):
        repack([one, two], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_other_classes_are_named_with_the_remedy(tmp_path: Path) -> None:
    one = forge(tmp_path / "one", LENGTHS[:5], names=("a", "b", "c"))
    two = forge(tmp_path / "two", LENGTHS[:5], names=("neg", "pos", "c"))
    with pytest.raises(ShardError, match=r"has 'neg', 'pos' and lacks 'a', 'b'\. .*--labels-from .*one"):
        repack([one, two], tmp_path / "both")


def test_texts_are_kept_by_all_or_left_out_on_request(tmp_path: Path) -> None:
    one, two = (
        forge(tmp_path / "one", LENGTHS[:5], layout_of(text=True)),
        forge(tmp_path / "two", LENGTHS[:5]),
    )
    with pytest.raises(UsageError, match="--no-text"):
        repack([one, two], tmp_path / "both")
    assert "txt" not in repack([one, two], tmp_path / "both", RepackOptions(no_text=True)).layout.members
    assert "txt" in repack([one], tmp_path / "kept").layout.members


def test_damage_in_a_source_stops_it_and_names_the_sample(tmp_path: Path) -> None:
    source = forge(tmp_path / "source", LENGTHS)
    tar = source / "shard-00000001.tar"
    content = bytearray(tar.read_bytes())
    content[512 + 128] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ShardError, match=r"source/shard-00000001\.tar: sample 000000000016"):
        repack([source], tmp_path / "out", RepackOptions(samples_per_shard=4))
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_out_is_none_of_the_sources(tmp_path: Path) -> None:
    source = forge(tmp_path / "source", LENGTHS)
    before = contents(source)
    with pytest.raises(UsageError, match="one of the sources"):
        repack([source], source)
    assert contents(source) == before


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source, out = forge(tmp_path / "source", LENGTHS), tmp_path / "out"
    repack([source], tmp_path / "want", RepackOptions(samples_per_shard=2))
    code = """if True:
        import os
        import signal
        import sys
        from pathlib import Path
        from amix.loaders.shards.rewrite.repack import RepackOptions, repack

        def die(record):
            if record.unit == 12:
                os.kill(os.getpid(), signal.SIGKILL)

        repack([Path(sys.argv[1])], Path(sys.argv[2]), RepackOptions(samples_per_shard=2), on_unit=die)
    """
    done = subprocess.run([sys.executable, "-c", code, source, out], check=False)
    assert done.returncode == -signal.SIGKILL
    started: list[tuple[int, int]] = []
    options = RepackOptions(samples_per_shard=2)
    repack([source], out, options, on_start=lambda done, units: started.append((done, units)))
    assert started == [(13, 25)]
    assert contents(out) == contents(tmp_path / "want")
    with pytest.raises(ShardError, match="samples_per_shard = 2, now it is 3"):
        repack([source], out, RepackOptions(samples_per_shard=3))
