"""What a checkpoint's files say, before anything of it is loaded."""

import json
import time
from pathlib import Path

import pytest
from safetensors.numpy import save_file

from core import checkpoints, limits
from core.catalogue import ModelCard
from core.checkpoints import check, check_config, check_files
from core.errors import ModelUnsafe, ModelUnusable

CARD = ModelCard("/home/somebody/mine", ("masking",), "/home/somebody/mine", shelf="folder")
WEIGHTS = "model.safetensors"
SANE = {
    "model_type": "llava", "vocab_size": 32_000, "hidden_size": 64, "num_hidden_layers": [2, 2], "n_inner": None,
    "type_vocab_size": 0, "text_config": {"num_hidden_layers": 2}, "vision_config": {"image_size": [224, 224]},
}  # fmt: skip


@pytest.mark.parametrize("name", ["modeling_mine.py", "code/deep/model.py", "SETUP.PY"])
def test_a_repository_with_code_in_any_folder_is_refused(name):
    with pytest.raises(ModelUnsafe) as error:
        check_files(CARD, [WEIGHTS, "config.json", name])
    assert error.value.facts == {"name": "mine"}  # and no path


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["pytorch_model.bin"],
        ["model.pkl", "tf_model.h5"],
        ["unet/model.safetensors"],
        ["adapter_model.safetensors"],
    ],
)
def test_weights_that_are_no_safetensors_are_refused(names):
    with pytest.raises(ModelUnusable) as error:
        check_files(CARD, ["config.json", *names])
    assert error.value.facts["lacks"] == "safetensors weights"


def test_one_file_of_weights_or_an_index_of_several_is_fine():
    check_files(CARD, iter([WEIGHTS, "pytorch_model.bin", "notes.pyx"]))
    check_files(CARD, ["model.safetensors.index.json", "model-00001-of-00002.safetensors"])


@pytest.mark.parametrize(
    "config", [{"auto_map": {}}, {"text_config": {"auto_map": {"AutoModel": "x--y.Z"}}}, {"a": [{"auto_map": 1}]}]
)
def test_a_configuration_that_asks_for_code_is_refused(config):
    with pytest.raises(ModelUnsafe):
        check_config(CARD, SANE | config)


@pytest.mark.parametrize(
    "absurd",
    [
        {"num_hidden_layers": -3}, {"num_hidden_layers": 200_000}, {"n_layer": 0}, {"n_layer": "12"}, {"n_layer": True},
        {"hidden_size": 1.5}, {"hidden_size": 10**9}, {"num_attention_heads": 0}, {"vocab_size": 10**12}, {"depth": [2, -1]},
        {"text_config": {"num_hidden_layers": 200_000}}, {"vision_config": {"hidden_size": float("nan")}},
        {"vocab_size": {}}, {"parts": [{"num_layers": -1}]},
    ],
)  # fmt: skip
def test_absurd_numbers_are_refused_at_once(absurd):
    began = time.monotonic()
    with pytest.raises(ModelUnusable) as error:
        check_config(CARD, SANE | absurd)
    assert error.value.facts["lacks"] == "sensible configuration" and time.monotonic() - began < 2


@pytest.mark.parametrize("config", [None, [], 7, "llama"])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(ModelUnusable):
        check_config(CARD, config)


def test_weights_in_whole_numbers_are_not_read():
    with pytest.raises(ModelUnusable) as error:
        check_config(CARD, SANE | {"quantization_config": {"quant_method": "gptq"}})
    assert error.value.facts["lacks"] == "weights in full precision"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is fine: 35 numbers, in two files."""
    import numpy as np

    (tmp_path / "config.json").write_text(json.dumps(SANE))
    save_file({"a": np.zeros((5, 5), np.float32)}, tmp_path / "one.safetensors")
    save_file({"b": np.zeros(10, np.float16)}, tmp_path / "two.safetensors")
    (tmp_path / "tokenizer.json").write_text("{}")
    table = {"a": "one.safetensors", "b": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return tmp_path


def test_headers_say_how_much_there_is(folder):
    config, weights = check(CARD, folder)
    assert config == SANE and weights.parameters == 35
    assert weights.bytes == sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def test_every_configuration_of_the_family_is_fine():
    check_config(CARD, SANE)
    for file in (Path(checkpoints.__file__).parent.parent / "weights").rglob("config.json"):
        check_config(CARD, json.loads(file.read_text()))


def spoil_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-3])


def spoil_header(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"shape"', b'"shade"'))


def spoil_length(file: Path) -> None:
    file.write_bytes(b"\xff" * 8 + file.read_bytes()[8:])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def lose(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("spoil", [spoil_end, spoil_header, spoil_length, empty, lose])
def test_a_file_that_is_cut_short_or_no_safetensors_is_refused(folder, spoil):
    spoil(folder / "two.safetensors")
    with pytest.raises(ModelUnusable) as error:
        check(CARD, folder)
    assert error.value.facts["lacks"] == "readable weights"


@pytest.mark.parametrize(
    "table", [{"a": "../one.safetensors"}, {"a": "/etc/passwd"}, [], {}, {"a": "..."}, {"a": None}]
)
def test_an_index_names_files_of_its_folder_and_no_others(folder, table):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(ModelUnusable):
        check(CARD, folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "\x00", "[" * 100_000, '{"a": "' + "b" * limits.MODEL_CONFIG_BYTES + '"}']
)
def test_a_configuration_that_is_no_json_is_refused(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ModelUnusable) as error:
        check(CARD, folder)
    assert error.value.facts["lacks"] == "sensible configuration"


def test_a_folder_without_a_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelUnusable) as error:
        check(CARD, folder)
    assert error.value.facts["lacks"] == "readable tokenizer"


def test_a_tokenizer_that_brings_code_is_refused(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["t.T", None]}}))
    with pytest.raises(ModelUnsafe):
        check(CARD, folder)


def test_code_in_a_folder_below_is_found(folder):
    (folder / "src").mkdir()
    (folder / "src" / "model.py").write_text("print()")
    with pytest.raises(ModelUnsafe):
        check(CARD, folder)
