import hashlib
import json
import tarfile
import tomllib

import pytest
import torch

from pipeline.data.domains import open_domains
from pipeline.data.fewshot import few_shots
from pipeline.data.held import open_set
from pipeline.data.shipped import (
    DOMAIN_SETS,
    FOLDER,
    NAMES,
    credits_of,
    heldout_of,
    place_of,
    shipped_sources,
    train_of,
)
from pipeline.errors import GraftError

TARGETS = tuple(name for name in NAMES if name != "personas")
HELDOUT_SHA256 = {
    "croodles": "651d3af4535e22ebc9f56de428287292d9022276afa0c358f709c88a45a65ae3",
    "lorelei": "abb441bfff7938e0b1f5173aaa50b5e3772279051280a22705d4151576140831",
    "notionists": "0c6e2415bb5f1b70c4777d3430830cacffb3c6f6274b7a8ed6a83e9c3cb009fe",
    "pixelArt": "7a90dbc64db39afa3fa8c4e53399366fff16cb3caa2a810e7078d16867eb5082",
}
AVATAR_STYLES_SHA256 = {
    "adventurer-test": "ae826625b14082e7dc67b28f39944e91f219a176d9884d0ba3d9ce3d562a379e",
    "adventurer-train": "114821aff4d2cdc7bd7227e6ae102316e5622b9971cb59d21ebef169d9f368b2",
    "micah-test": "0ed7850fd5a62846e047aac6ecea92001051b06aaf26e9456e00e450eb1823c3",
    "micah-train": "80a00a8b5efd0d324e902e26e8c6b51d4f4ebe28dbc26cfb185ab8a4d1d48805",
    "toonHead-test": "5e9c320da500588cdcb57a9a865c88616c993043858e2ef880b3b7f115841fc6",
    "toonHead-train": "28d060b8fe2c41319a1e1deacfbd1a5beb2b2fbc8b4e43d83cac8a1c21711f8c",
}
PERSONAS_PIXELS_SHA256 = "33f976abbc5f48108505b8fd814cbc823ea8e5f3a092e763f54ef2caf7886ed9"


def digests(pictures):
    return {hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in pictures}


def test_there_are_8000_portraits_500_of_them_held_out():
    train, apart = open_set("personas", 64), open_set(heldout_of("personas"), 64)
    assert (train.count, apart.count) == (7500, 500)
    assert not train.notes
    assert not apart.notes
    seeds = {fields["seed"] for fields in train.fields + apart.fields}
    assert len(seeds) == 8000
    assert train.sha256 == PERSONAS_PIXELS_SHA256
    assert not digests(train.all()) & digests(apart.all())


def test_the_manifest_of_the_portraits_tells_the_truth():
    manifest = json.loads((FOLDER / "personas" / "manifest.json").read_text())
    assert manifest["licences"] == {"CC-BY-4.0": 8000}
    assert [shard["name"] for shard in manifest["splits"]["train"]["shards"]] == [
        f"train-{number:04d}.tar.gz" for number in range(8)
    ]
    for split in manifest["splits"].values():
        for shard in split["shards"]:
            path = FOLDER / "personas" / shard["name"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == shard["sha256"]
            with tarfile.open(path) as archive:
                assert sum(name.endswith(".json") for name in archive.getnames()) == shard["count"]


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_has_ten_pictures_and_500_others_held_out(name):
    few, apart = few_shots(name, 10, 0, 64), open_set(heldout_of(name), 64)
    assert (few.count, apart.count) == (10, 500)
    assert not apart.notes
    assert not digests(few.all()) & digests(apart.all())
    assert len(digests(apart.all())) == 500
    assert len(json.loads((FOLDER / name / "meta.json").read_text())) == 10
    assert hashlib.sha256(heldout_of(name).read_bytes()).hexdigest() == HELDOUT_SHA256[name]


@pytest.mark.parametrize("name", TARGETS)
def test_the_meta_of_a_target_shares_no_avatar_with_its_held_out(name):
    train = {entry["seed"] for entry in json.loads((FOLDER / name / "meta.json").read_text())}
    assert not train & {fields["seed"] for fields in open_set(heldout_of(name), 64).fields}


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_credited_with_its_licence(name):
    credits = (FOLDER / "CREDITS.md").read_text(encoding="utf-8")
    (row,) = [line for line in credits.splitlines() if line.startswith(f"| `{name}`")]
    licence = open_set(heldout_of(name), 64).fields[0]["licence"]
    assert licence.replace("CC-BY-4.0", "CC BY 4.0").replace("CC0-1.0", "CC0 1.0") in row


def test_the_avatar_styles_are_three_domains_of_700_with_150_held_out_each():
    train, apart = (open_domains("avatar_styles", 64, split=split) for split in ("train", "heldout"))
    assert train.names == apart.names == ("adventurer", "micah", "toonHead")
    assert (train.counts, apart.counts) == ((700,) * 3, (150,) * 3)
    assert not train.notes
    for label, name in enumerate(train.names):
        fields = [*train.held(label).fields, *apart.held(label).fields]
        assert {(one["domain"], one["licence"]) for one in fields} == {(name, "CC-BY-4.0")}
        assert len({one["seed"] for one in fields}) == 850
        assert not digests(train.held(label).all()) & digests(apart.held(label).all())
    for name, expected in AVATAR_STYLES_SHA256.items():
        path = FOLDER / "avatar_styles" / f"{name}.tar.gz"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected


def test_every_domain_is_credited_in_the_order_of_the_labels():
    assert credits_of("avatar_styles") == (
        "Adventurer by Lisa Wischofsky, CC BY 4.0; Avatar Illustration System by Micah Lanier, CC BY 4.0; "
        "ToonHead by Johan Melin, CC BY 4.0"
    )


@pytest.mark.parametrize("name", DOMAIN_SETS)
def test_a_set_of_domains_is_refused_where_pictures_of_one_kind_are_asked_for(name):
    for ask in (lambda: open_set(name, 64), lambda: few_shots(name, 10, 0, 64), lambda: heldout_of(name)):
        with pytest.raises(
            GraftError, match=f"{name}: a set of several domains, and pictures of one"
        ) as caught:
            ask()
        assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("wrong", "right"), [("lorelie", "lorelei"), ("PixelArt", "pixelArt"), ("persona", "personas")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong, right):
    for ask in (place_of, train_of, heldout_of):
        with pytest.raises(GraftError, match=f"{wrong}: .*did you mean {right}"):
            ask(wrong)


def test_a_name_like_none_is_answered_with_all():
    with pytest.raises(GraftError, match="shipped are croodles, lorelei, notionists, personas, pixelArt"):
        heldout_of("zzzzzz")


def test_a_path_is_itself(tmp_path):
    assert place_of(tmp_path) == place_of(str(tmp_path)) == tmp_path


def test_sources_are_whole_model_folders():
    for name, folder in shipped_sources().items():
        assert folder.name == name
        assert {"model.safetensors", "config.json", "MODEL_CARD.md", "grid.png"} <= {
            p.name for p in folder.iterdir()
        }


def test_pictures_are_on_white():
    for name in TARGETS:
        corners = open_set(heldout_of(name), 64).all()[:, :, 0, 0]
        assert torch.eq(corners, 255).all(dim=1).float().mean() > 0.5


def test_a_set_of_domains_is_a_near_name_too():
    with pytest.raises(GraftError, match="did you mean avatar_styles"):
        place_of("avatar_style")


def test_every_shipped_file_is_installed():
    """The globs of the package's data, read as setuptools reads them, leave nothing out."""
    project = tomllib.loads((FOLDER.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    globs = project["tool"]["setuptools"]["package-data"]["pipeline.data"]
    installed = {path for pattern in globs for path in FOLDER.parent.glob(pattern) if path.is_file()}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= installed
    assert FOLDER / "avatar_styles" / "micah-train.tar.gz" in installed
