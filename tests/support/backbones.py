"""Small checkpoints with random parameters, in the formats of transformers and open_clip; torchvision where it is."""

import contextlib
import json
from pathlib import Path

import pytest

LONGEST = 20  # tokens
SENTENCES = ["a person opens the door", "the red dog runs", "dog", "It's 42, isn't it?", "a cat, and a dog"]


def import_torchvision() -> None:
    """Import torchvision where it is. Nothing here needs its compiled operators, which may fit another PyTorch."""
    torch = pytest.importorskip("torch")
    register = torch.library.register_fake

    def tolerant(name, *arguments, **options):
        return (lambda f: f) if name.startswith("torchvision::") else register(name, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ModuleNotFoundError):
        patch.setattr(torch.library, "register_fake", tolerant)
        import torchvision  # noqa: F401


def import_or_skip(name: str):
    """A package that reads checkpoints; both of them look for torchvision."""
    import_torchvision()
    return pytest.importorskip(name)


def save_clip(folder: Path, seed: int = 0) -> Path:
    """CLIP as transformers saves it: 24 numbers a vector, pictures of 32 x 32, some words as whole tokens."""
    transformers = import_or_skip("transformers")
    torch = pytest.importorskip("torch")
    tokenizer = transformers.CLIPTokenizer(**_byte_pairs(), model_max_length=LONGEST)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": LONGEST, **_sizes()}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {"image_size": 32, "patch_size": 8, **_sizes()}
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24)
    _save(transformers.CLIPModel(config), tokenizer, "CLIPImageProcessor", folder)
    return folder


def save_siglip(folder: Path) -> Path:
    """SigLIP: its sentences are filled up to the full length, attention looks both ways."""
    transformers = import_or_skip("transformers")
    torch = pytest.importorskip("torch")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "a", "the", "dog", "cat", "red", "runs", "person", "door", "opens"]
    inner = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    inner.normalizer, inner.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=LONGEST, **special)
    text = {"vocab_size": len(words), "max_position_embeddings": LONGEST, "projection_size": 32, **_sizes()}
    vision = {"image_size": 32, "patch_size": 8, **_sizes()}
    torch.manual_seed(0)
    config = transformers.SiglipConfig(text_config=text, vision_config=vision)
    _save(transformers.SiglipModel(config), tokenizer, "SiglipImageProcessor", folder)
    return folder


def save_open_clip(folder: Path) -> Path:
    """A folder as open_clip writes it; its tokenizer is OpenAI's, which the package carries."""
    open_clip = import_or_skip("open_clip")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    parameters = open_clip.CLIP(**config).state_dict()
    save_file({name: value.contiguous() for name, value in parameters.items()}, folder / "open_clip_model.safetensors")
    return folder


def _sizes() -> dict[str, int]:
    return {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def _byte_pairs() -> dict[str, object]:
    letters = [*map(chr, range(ord("a"), ord("z") + 1)), *"0123456789',.-?!"]
    merges = [("t", "h"), ("th", "e</w>"), ("d", "o"), ("do", "g</w>"), ("r", "e"), ("re", "d</w>")]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {"vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges}


def _save(model, tokenizer, processor: str, folder: Path) -> None:
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    side = {"height": 32, "width": 32}
    size = {"shortest_edge": 32} if processor.startswith("CLIP") else side
    settings = {"image_processor_type": processor, "size": size, "crop_size": side, "do_rescale": True}
    settings |= {"do_resize": True, "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
