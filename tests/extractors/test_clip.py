import json
from pathlib import Path

import numpy as np
import pytest

from cfmr.errors import InputError
from cfmr.extractors import get_extractor
from cfmr.extractors.clip import Clip
from tests.support.backbones import LONGEST, SENTENCES, import_or_skip, save_clip, save_open_clip, save_siglip
from tests.support.footage import write_video

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip") / "checkpoint")


def reference(folder: Path):
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder).eval()


def unit(vectors) -> np.ndarray:
    vectors = getattr(vectors, "pooler_output", vectors)
    return torch.nn.functional.normalize(vectors, dim=-1).detach().numpy()


def test_two_frames_a_second_as_the_checkpoint_sees_them(checkpoint: Path, tmp_path: Path) -> None:
    from PIL import Image
    from transformers import AutoImageProcessor

    from cfmr.video.decode import Video

    path = write_video(tmp_path / "v.mp4", [0.0, 0.5, 1.0, 1.5, 2.0], last=0.5)
    found = get_extractor("clip", weights=checkpoint).extract(path)
    with Video(path) as video:
        images = [Image.fromarray(frame.rgb()) for frame in video.frames(fps=2.0)]
    pixels = AutoImageProcessor.from_pretrained(checkpoint)(images=images, return_tensors="pt")["pixel_values"]
    np.testing.assert_allclose(
        found.features, unit(reference(checkpoint).get_image_features(pixel_values=pixels)), atol=1e-5
    )
    assert found.features.shape == (5, 24)
    assert found.duration == pytest.approx(2.5)


def test_of_each_two_seconds_the_frame_in_the_middle(checkpoint: Path, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], last=1.0)
    every = get_extractor("clip", weights=checkpoint).extract(path).features
    extractor = get_extractor("clip-2s", weights=checkpoint)
    np.testing.assert_allclose(extractor.extract(path).features, every[[2, 6, 10]], atol=1e-6)
    assert (extractor.name, extractor.clips_per_second) == ("clip-2s", 0.5)


def test_sentences_as_the_checkpoint_reads_them_padded_or_not(checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(checkpoint)(SENTENCES, padding=True, truncation=True, return_tensors="pt")
    expected = unit(reference(checkpoint).get_text_features(**tokens))
    np.testing.assert_allclose(Clip(checkpoint).text(SENTENCES), expected, atol=1e-5)


def test_the_tokenizer_that_is_carried_gives_the_same_tokens(checkpoint: Path) -> None:
    towers = Clip(checkpoint).towers
    assert not towers.padded
    for sentence in SENTENCES:
        assert towers.tokenizer().encode(sentence).ids == towers.ids(sentence)
    long = "dog " * 50
    assert len(towers.ids(long)) == towers.longest == LONGEST
    assert len(towers.tokenizer().encode(long).ids) == 52, "what is carried cuts nothing"


def test_siglip_reads_sentences_at_full_length(tmp_path: Path) -> None:
    folder = save_siglip(tmp_path / "siglip")
    clip = Clip(folder)
    assert clip.towers.padded
    ids = [clip.towers.ids(sentence) for sentence in SENTENCES]
    assert {len(row) for row in ids} == {LONGEST}
    assert [clip.towers.tokenizer().encode(sentence).ids for sentence in SENTENCES] == ids
    expected = unit(reference(folder).get_text_features(input_ids=torch.tensor(ids)))
    np.testing.assert_allclose(clip.text(SENTENCES), expected, atol=1e-5)


def test_open_clips_checkpoints_are_read_too(tmp_path: Path, shared: Path) -> None:
    folder = save_open_clip(tmp_path / "open")
    clip = Clip(folder)
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(SENTENCES)
    np.testing.assert_allclose(clip.text(SENTENCES), unit(model.eval().encode_text(tokens)), atol=1e-5)
    assert len(clip.towers.ids("a person")) == 77
    from PIL import Image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    np.testing.assert_allclose(clip.towers.prepare(picture), transform(picture).numpy(), atol=1e-6)
    assert clip.extract(shared / "video" / "realshort.mp4").features.shape == (3, 24)


@pytest.mark.parametrize("sentence", [*SENTENCES, "a man’s “hat”", "déjà vu, 日本", "DON'T", " tabs\tand  spaces "])
def test_openais_tokenizer_is_carried(tmp_path: Path, sentence: str) -> None:
    towers = Clip(save_open_clip(tmp_path / "open")).towers
    assert towers.tokenizer().encode(sentence).ids == towers.ids(sentence)


def test_a_file_of_weights_goes_with_an_architecture_by_name(tmp_path: Path) -> None:
    save_open_clip(tmp_path / "open")
    weights = tmp_path / "open" / "open_clip_model.safetensors"
    with pytest.raises(InputError, match="for a file of weights say --extractor clip/ViT-B-32"):
        get_extractor("clip", weights=weights)
    with pytest.raises(InputError, match="open_clip knows no architecture ViT-B-33"):
        get_extractor("clip/ViT-B-33", weights=weights).attributes()
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors: cannot be loaded"):
        get_extractor("clip/ViT-B-32", weights=weights).attributes()


def test_features_of_a_real_video(checkpoint: Path, shared: Path) -> None:
    found = get_extractor("clip", weights=checkpoint).extract(shared / "video" / "realshort.mp4")
    assert found.features.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(found.features, axis=1), 1, atol=1e-5)


def test_other_weights_are_other_features(checkpoint: Path, tmp_path: Path) -> None:
    other = Clip(save_clip(tmp_path / "other", seed=1)).attributes()
    assert Clip(checkpoint).attributes()["weights"] != other["weights"]
    assert other["clips_per_second"] == 2.0


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs --weights"):
        get_extractor("clip")
    with pytest.raises(InputError, match="no folder of a checkpoint"):
        get_extractor("clip", weights=tmp_path / "none")
    with pytest.raises(InputError, match=r"has neither config\.json nor open_clip_config\.json"):
        get_extractor("clip", weights=tmp_path)


def test_truncated_or_incomplete_weights_are_named(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = save_clip(tmp_path / "cut")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="cut: cannot be loaded as a CLIP checkpoint"):
        Clip(folder).attributes()
    parameters = load_file(checkpoint / "model.safetensors")
    del parameters["text_projection.weight"]
    save_file(parameters, weights, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"text_projection.weight is missing, 1 in all"):
        Clip(folder).attributes()


def test_a_model_without_two_sides_is_named(tmp_path: Path) -> None:
    transformers = import_or_skip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.BertModel(transformers.BertConfig(vocab_size=10, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="it has no image side and text side"):
        Clip(tmp_path).attributes()


def test_code_that_comes_with_a_checkpoint_is_not_run(checkpoint: Path, tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "own")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="cannot be loaded"):
        Clip(folder).attributes()
    assert not (tmp_path / "run").exists()
