import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cfmr.config import MODELS, PRESETS, load_config, parse_config, preset
from cfmr.errors import InputError
from cfmr.models.base import FOLDERS, model_module
from tests.support.worlds import make_world

CONFIGS = Path(__file__).parents[1] / "config"
PUBLISHED = CONFIGS / "charades/i3d.json"


def published() -> dict[str, Any]:
    return json.loads(PUBLISHED.read_text())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_shipped_configuration_loads(path: Path) -> None:
    assert load_config(path).dataset.max_num_words > 0


@pytest.mark.parametrize(("name", "model"), [("dense", "CFMR-Dense"), ("cfmr", "CFMR")])
def test_a_preset_reads_below_the_directory_of_its_run(name: str, model: str, tmp_path: Path) -> None:
    config = preset(name, tmp_path)
    assert config.model.name == model
    assert config.dataset.feature_path == str(tmp_path / "features.hdf5")
    assert config.dataset.val_data == str(tmp_path / "annotations" / "val.json")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_configuration_file_as_it_lies_in_the_package(name: str) -> None:
    assert preset(name) == load_config(str(files("cfmr") / "presets" / f"{name}.json"))


def test_an_unknown_preset_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match="preset 'tiny': known are dense, cfmr"):
        preset("tiny")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("charades/i3d", (1111, 1024, 200, 32, 30, 7, 0.55, 8, 0.45, 2.0, 1.0, False)),
        ("activitynet/c3d", (8000, 500, 200, 64, 60, 8, 0.66, 4, 0.8, 0.5, 0.5, False)),
        ("tacos/c3d", (2288, 4096, 512, 32, 60, 8, 0.3, 15, 0.3, 1.0, 1.0, True)),
    ],
)
def test_published_values_are_those_of_the_paper(name: str, expected: tuple[Any, ...]) -> None:
    config = load_config(CONFIGS / f"{name}.json")
    sizes = config.model.config
    assert (
        config.dataset.vocab_size,
        config.dataset.frame_dim,
        config.dataset.max_num_frames,
        config.train.batch_size,
        config.train.max_num_epochs,
        sizes.num_concept,
        sizes.width_thresh_training,
        sizes.guass_center_num,
        sizes.width_thresh,
        config.loss.alpha_1,
        config.loss.alpha_2,
        config.loss.use_ref_words_sam,
    ) == expected


def test_a_key_of_the_original_that_nothing_reads_is_accepted() -> None:
    value = published()
    value["train"]["train_txt_decoder_epoch"] = 0
    parse_config(value, "theirs.json")


def broken(change: Any) -> dict[str, Any]:
    value = copy.deepcopy(published())
    change(value)
    return value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["train"].pop("batch_size"), "mine.json: key 'train.batch_size' is missing; add it"),
        (lambda c: c["loss"].update(margin_5=1), "mine.json: key 'loss.margin_5' is not known"),
        (lambda c: c["dataset"].update(vocab_size="many"), "mine.json: key 'dataset.vocab_size': "),
        (lambda c: c["train"].update(batch_size=0), "mine.json: key 'train.batch_size': "),
        (
            lambda c: c["model"]["config"]["Transformers"].update(num_heads=3),
            "d_model 256 is not divisible by num_heads 3",
        ),
        (
            lambda c: c["model"]["config"].update(hidden_size=128),
            "hidden_size 128 differs from Transformers.d_model 256",
        ),
        (
            lambda c: c["dataset"].update(frame_dim=500),
            "model.config.frames_input_size is 1024 but dataset.frame_dim is 500",
        ),
        (lambda c: c["model"].update(name="CPL"), "mine.json: key 'model.name' is 'CPL'; known are CFMR"),
        (lambda c: c.pop("loss"), "mine.json: key 'loss' is missing"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key_and_the_file(change: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_config(broken(change), "mine.json")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_list_is_no_configuration() -> None:
    with pytest.raises(InputError, match=r"mine\.json: a configuration is a JSON object"):
        parse_config([], "mine.json")


def test_truncated_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_text(PUBLISHED.read_text()[:300])
    with pytest.raises(InputError, match=r"half\.json: not valid JSON \(line"):
        load_config(path)


def test_every_model_of_a_configuration_has_its_folder_and_its_text_encoder() -> None:
    assert FOLDERS.keys() == MODELS.keys()
    for name in PRESETS:
        module = model_module(preset(name), "text_onnx")
        assert callable(module.text_graph)
        assert callable(module.word_table)


def test_a_model_name_that_is_no_name_is_named() -> None:
    for name in (["CFMR"], {"a": 1}, None, 1):
        with pytest.raises(InputError, match=r"key 'model\.name' is "):
            parse_config({"model": {"name": name}}, "c.json")


def test_cfmr_dense_may_say_its_input_sizes_as_the_published_model_does(tmp_path: Path) -> None:
    world = json.loads(make_world(tmp_path / "world").config.read_text())
    value: dict[str, Any] = {"dataset": world["dataset"], "model": {"name": "CFMR-Dense"}}
    plain = parse_config(value, "c.json")
    value["model"]["config"] = {"words_input_size": value["dataset"]["word_dim"]}
    assert parse_config(value, "c.json") == plain
    value["model"]["config"] = {"frames_input_size": 999}
    with pytest.raises(InputError, match=r"c\.json: model\.config\.frames_input_size is 999, dataset\.frame_dim"):
        parse_config(value, "c.json")
