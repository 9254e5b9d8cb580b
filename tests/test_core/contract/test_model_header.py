"""A model tells what it is from its first bytes, without torch; whatever is wrong with them is a sentence."""

import json
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from oadg.core.contract.errors import ModelError
from oadg.core.contract.facies import build_facies_table
from oadg.core.contract.model_header import FORMAT, ModelHeader, bits_per_cell, parse_header, read_header
from oadg.core.model.facies_model import FaciesModel


@pytest.fixture
def saved(tiny_network, tmp_path):
    model = FaciesModel(
        "Flüsse",
        tiny_network,
        facies=build_facies_table([311, -1], {311: ("Sand", "#112233")}),
        max_facies=2,
        cell_size=12.5,
        provenance={"scores": {"held_out_bits": 0.5}, "learnt_from": "Karte"},
    )
    path = tmp_path / "a model with spaces é.safetensors"
    model.save(path)
    return model, path


def write(path, header, rest=b""):
    """Write a file as safetensors begins one: the length of a header, and a header of any bytes."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content + rest)
    return path


def with_text(path, text):
    return write(path, {"__metadata__": {"oadg": text}})


def test_a_header_tells_what_was_saved(saved):
    model, path = saved
    assert read_header(path) == ModelHeader(
        name="Flüsse",
        facies=model.facies,
        cell_size=12.5,
        qualities=tuple(model.schedules),
        provenance=model.provenance,
    )


def test_a_header_tells_what_loading_the_model_does(saved):
    _, path = saved
    loaded, header = FaciesModel.load(path), read_header(path)
    for name in ("name", "facies", "cell_size", "provenance"):
        assert getattr(header, name) == getattr(loaded, name)
    assert header.qualities == tuple(loaded.schedules)


def test_a_model_that_takes_any_facies_names_none(tiny_network, tmp_path):
    path = tmp_path / "any.safetensors"
    FaciesModel("any", tiny_network).save(path)
    header = read_header(path)
    assert (header.facies, header.cell_size) == (None, None)


def test_a_header_without_a_cell_size_has_none(saved):
    """As files had it before models were trained on images."""
    _, path = saved
    length = struct.unpack("<Q", path.read_bytes()[:8])[0]
    plain = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["oadg"])
    del plain["cell_size"]
    assert read_header(with_text(path, json.dumps(plain))).cell_size is None


def test_weights_are_not_read(saved):
    _, path = saved
    before = read_header(path)
    content = path.read_bytes()
    path.write_bytes(content[: 8 + struct.unpack("<Q", content[:8])[0]])
    assert read_header(path) == before


def test_torch_is_not_needed():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'safetensors', 'huggingface_hub', 'qgis', 'osgeo']))\n"
        "import oadg.core.contract.model_header, oadg.core.contract.training_job, oadg.core.contract.training_image"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"There is no model file .*nothing\.safetensors"):
        read_header(tmp_path / "nothing.safetensors")
    with pytest.raises(ModelError, match="There is no model file .*Choose an installed model, or another file"):
        read_header(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 8, 100, -1])
def test_truncated_file(saved, keep):
    """-1: all of the header but its last byte."""
    path = saved[1]
    content = path.read_bytes()
    if keep < 0:
        keep = 8 + len(content[8:].rpartition(b"}}")[0]) + 1
    path.write_bytes(content[:keep])
    with pytest.raises(ModelError, match=rf"\({keep:,} bytes\) cannot be read as a model.*Install an undamaged file"):
        read_header(path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"PK\x03\x04" + bytes(range(200)),
        struct.pack("<Q", 2) + b"\xff\xfe",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 1) + b"5",
        struct.pack("<Q", 0),
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        struct.pack("<Q", 24) + b'{"__metadata__": [1, 2]}',
    ],
    ids=["picture", "archive", "no text", "list", "number", "empty", "deep", "metadata"],
)
def test_files_of_another_kind(tmp_path, content):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as a model.*truncated, damaged or of another kind"):
        read_header(path)


def test_a_header_without_end_is_not_read(tmp_path):
    path = tmp_path / "long.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    with pytest.raises(ModelError, match="cannot be read as a model: its header has no end"):
        read_header(path)


def test_safetensors_files_of_others(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (
        None,
        {"format": "pt"},
        {"oadg": "no JSON"},
        {"oadg": "[]"},
        {"oadg": '{"format": "oadg-model-0"}'},
    ):
        save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
        with pytest.raises(ModelError, match=rf"not an OADG model of format '{FORMAT}': its header does not say so"):
            read_header(path)


@pytest.mark.parametrize("text", [None, "", "null", "5", "{", '{"format": 1}'])
def test_a_text_that_is_no_header(tmp_path, text):
    with pytest.raises(ModelError, match=r"The file .*some\.file is a safetensors file, but not an OADG model"):
        parse_header(tmp_path / "some.file", text)


def test_a_text_that_is_a_header(tmp_path):
    assert parse_header(tmp_path, json.dumps({"format": FORMAT, "name": "a"})) == {"format": FORMAT, "name": "a"}


@pytest.mark.parametrize(
    "change",
    [
        {"facies": [{"code": 1, "name": "sand", "color": "#112233"}]},
        {"facies": "sand, mud"},
        {"facies": [{"code": 1}, {"code": 2}]},
        {"cell_size": "large"},
        {"schedules": None},
        {"provenance": 5},
        {"facies": [{"code": float("inf"), "name": "a", "color": "#112233"}] * 2},
        {"network": None},
    ],
    ids=["one facies", "text", "no names", "cell size", "schedules", "provenance", "code", "network"],
)
def test_a_header_that_does_not_hold_together(tmp_path, change):
    whole = {"format": FORMAT, "name": "a", "network": {}, "facies": None, "schedules": {}, "provenance": {}}
    path = tmp_path / "m.safetensors"
    assert read_header(with_text(path, json.dumps(whole))).name == "a"
    with pytest.raises(ModelError, match=r"m\.safetensors does not hold together: .*install the model again"):
        read_header(with_text(path, json.dumps({**whole, **change})))


@pytest.mark.parametrize("missing", ["name", "network", "facies", "schedules", "provenance"])
def test_a_header_that_lacks_a_part_names_it(tmp_path, missing):
    parts = {"format": FORMAT, "name": "a", "network": {}, "facies": None, "schedules": {}, "provenance": {}}
    del parts[missing]
    with pytest.raises(ModelError, match=f"does not hold together: '{missing}'"):
        read_header(with_text(tmp_path / "m.safetensors", json.dumps(parts)))


def test_scores_that_are_none_tell_no_bits():
    assert bits_per_cell({"scores": 5}) is None
