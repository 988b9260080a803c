"""The documents of a cache are pinned byte for byte: a cache of an earlier version opens, verifies and resumes.

The hashes are of what commit ae68364 wrote, before these documents were dataclasses; those of "repacked" are of what
commit b31d6f1 wrote, before caches of other classes were refused. The cards are later: they name the longest text.
"""

from pathlib import Path

import pytest

from amix.engine.base.publish import sha256_file
from amix.loaders.shards.manifest import Manifest
from amix.loaders.shards.records import ShardRecord
from amix.loaders.shards.rewrite.repack import RepackOptions, repack
from amix.loaders.shards.workspace import Workspace
from tests.loaders.forge import forge, layout_of

LENGTHS = (5, 9, 3, 12, 2, 7, 8, 4, 6, 10, 5)
TOKENIZER = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
REJECTS = "edc28dc69bf89d4cec0cdf2cfcd4ae64a1e670fdc82ee98c6784ff2c07304427"
GOLDEN = {
    "plain": {
        "README.md": "518e55d9f30a505aa92311181e065064fa6b5a663f5b91ef54a9df4cd582df6d",
        "manifest.json": "9b06c057cf5b26c8ac6db992d09015996b406c8bf2a5aa86f2dc8920d2b16509",
        "rejects.jsonl": REJECTS,
        "shard-00000000.json": "c66b53993fc842e84e9d9ee9d51971c93fb890c0402b7d045866ab2ba923cee9",
        "shard-00000001.json": "d7aab8a79ab8585433fca3c96a7371b7abb7a372a10f49fa762787371e2c2fbd",
        "shard-00000002.json": "604f2ba91bacb8ddf99ef48bf462136783a3e2519be78b4e332b373647a9ad1a",
        "tokenizer.json": TOKENIZER,
    },
    "rich": {
        "README.md": "1cecf1590c1ef1038e53dcc1f7aa24c63d93dcdbe0237423acc24f2e2b6ebb00",
        "manifest.json": "8c17cceb244e1b6385e9e21bcc174eb32cda5684e896879209300e6e8cc3bab6",
        "shard-00000000.json": "b2cb99424f3a66b6c9d31ec3d2d9b74d3890ec6d9463f32d5e9f347cae26ab94",
        "shard-00000001.json": "02447c410047d0d571b0f6bb642487ae7c2f67e06679b2da5a11b121bcc85268",
        "shard-00000002.json": "ae4189ddedffd14949957bde3dcd557487b5a8ea7d6443a7ff99509a2bea2a33",
        "tokenizer.json": TOKENIZER,
    },
    "bare": {
        "README.md": "e262680996383d4562772b955e3c09fe0b807b30d3aea4cd23e135142d3cd5e0",
        "manifest.json": "c681951af73700a7f822a38723366b97315b21acb457169e444034d821fdb14b",
        "shard-00000000.json": "b562302e8ad59ad1889f7417703b5f2506658bf79a89ff7a95ebbdb74a979336",
        "shard-00000001.json": "f1c1f5eec96a1ec2b7c655e6922ddb945c61f04e65291158c7def12b6306e225",
        "shard-00000002.json": "0bcb94fdf54df7d77206c436a68b13def88e9f5596d44e3bf87aa3c30441f328",
        "tokenizer.json": TOKENIZER,
    },
    "repacked": {
        "README.md": "41599069b52530ae4ecc51fd41ae7602b1564f5da68a972789757fb0a0b9209e",
        "manifest.json": "608129bbe5846b13bae4361c9f24cc459fc029d91fce88ca19aaa5a189b1c00e",
        "rejects.jsonl": REJECTS,
        "shard-00000000.json": "cb217734e79df13e199a681da44c9428955f98f3bb6c652764d05b04ed8e94b0",
        "shard-00000001.json": "c3176d1b3dae08ea03c8618d786fa94d0ff5e05adad75a329328bb56852c6290",
        "shard-00000002.json": "8e6a9c92aa0ba0e8c26f2d40842892f2d1c5b7af07830a7ad85308084f9664a2",
        "tokenizer.json": TOKENIZER,
    },
}
PORTABLE = {
    "plain": "4a2d380bfa032b00e1995ac7b01be26cabbe016e52344c9f22551b35f11b8026",
    "repacked": "90618530b5ea034eaf397d4e36621feac09f0d530342d2cfce43bf28b2ce597f",
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache under every name of GOLDEN."""
    root = tmp_path_factory.mktemp("golden")
    plain = forge(root / "plain", LENGTHS, per_shard=4, rejects=(2, 9), names=("no|yes", "b", "ç"))
    rich = layout_of(heads=3, dtype="uint8", token_types=True, classes=3, text=True)
    forge(root / "rich", LENGTHS, rich, per_shard=4)
    forge(root / "bare", LENGTHS, layout_of(cls=False), per_shard=4)
    more = forge(root / "more", LENGTHS[:6], names=("ç", "no|yes", "b"))
    options = RepackOptions(samples_per_shard=7, heads="0.1", dtype="float32")
    repack([plain, more], root / "repacked", options)
    return root


@pytest.mark.parametrize("name", GOLDEN)
def test_documents_are_those_of_earlier_versions(caches: Path, name: str) -> None:
    found = {path.name: sha256_file(path) for path in (caches / name).iterdir() if path.name in GOLDEN[name]}
    assert found == GOLDEN[name]
    assert len([*(caches / name).iterdir()]) == len(found) + 3 * 3  # tars, indexes, checksums


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_read_is_written_again_as_it_was(caches: Path, name: str) -> None:
    manifest = Manifest.read(caches / name)
    assert manifest.sealed() == (caches / name / "manifest.json").read_bytes()
    for position, entry in enumerate(manifest.shards):
        path = caches / name / f"{entry.name}.json"
        assert manifest.record(position) == ShardRecord.read(path)
        assert manifest.record(position).sealed() == path.read_bytes()


@pytest.mark.parametrize("name", PORTABLE)
def test_what_identifies_a_cache_on_any_machine_stays(caches: Path, name: str) -> None:
    assert Manifest.read(caches / name).portable_sha256 == PORTABLE[name]


def test_looking_at_a_folder_changes_nothing_in_it(caches: Path, tmp_path: Path) -> None:
    """Whether it is whole, damaged, or begun with another recipe."""
    folder = forge(tmp_path / "x", LENGTHS, per_shard=4)
    recipe = Manifest.read(folder).recipe
    (folder / "shard-00000001.tar").write_bytes(b"short")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with Workspace(folder) as workspace:
        assert workspace.finished(recipe) is None
        assert sorted(workspace.records(recipe)) == [0, 2]
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        workspace.prepare()
        assert before.keys() - {path.name for path in folder.iterdir()} == {"manifest.json"}
