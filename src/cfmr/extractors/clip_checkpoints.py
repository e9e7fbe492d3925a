"""CLIP checkpoints as two packages write them, opened alike: transformers and open_clip. Nothing is downloaded."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cfmr.errors import InputError

Pixels = npt.NDArray[np.float32]

OPEN_CLIP = "open_clip_config.json"


class Towers(Protocol):
    """Both sides of a checkpoint.

    Attributes:
        dim: width of a vector.
        longest: tokens that the text side reads at most, those of the beginning and the end counted.
        padded: every sentence is filled up to the longest; else it comes as it is.
    """

    dim: int
    longest: int
    padded: bool

    def prepare(self, image: Any) -> Pixels:
        """PIL image -> (3, height, width)."""
        ...

    def images(self, images: Pixels) -> Any:
        """(n, 3, height, width) -> tensor (n, dim)."""
        ...

    def ids(self, sentence: str) -> list[int]:
        """Tokens of a sentence, cut to the longest."""
        ...

    def sentences(self, ids: Any) -> Any:
        """Tensor of tokens (n, length) -> tensor (n, dim)."""
        ...

    def tokenizer(self) -> Any:
        """A `tokenizers.Tokenizer` that gives the tokens, padded but never cut. Raises ValueError if there is none."""
        ...


def package_of(weights: Path, backbone: str | None) -> str:
    """Which package reads a checkpoint: "transformers" or "open_clip".

    Raises:
        InputError: no checkpoint is there.
    """
    if backbone is not None:
        if not weights.is_file():
            raise InputError(f"{weights}: no such file of weights")
        return "open_clip"
    if not weights.is_dir():
        raise InputError(f"{weights}: no folder of a checkpoint; for a file of weights say --extractor clip/ViT-B-32")
    if (weights / OPEN_CLIP).is_file():
        return "open_clip"
    if not (weights / "config.json").is_file():
        raise InputError(f"{weights}: has neither config.json nor {OPEN_CLIP}; is it a CLIP checkpoint?")
    return "transformers"


def open_towers(weights: Path, backbone: str | None) -> Towers:
    """Load a checkpoint. Raises InputError if it is damaged, incomplete, or has no two sides."""
    try:
        return _OpenClip(weights, backbone) if package_of(weights, backbone) == "open_clip" else _Transformers(weights)
    except InputError:
        raise
    except Exception as error:  # two packages and the formats below them raise what they like
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{weights}: cannot be loaded as a CLIP checkpoint ({reason or type(error).__name__})"
        ) from error


class _Transformers:
    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
        from transformers.utils import logging as chatter

        chatter.set_verbosity_error()
        chatter.disable_progress_bar()
        model, loaded = AutoModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
            raise ValueError("it has no image side and text side")
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"{missing[0]} is missing, {len(missing)} in all")  # it would be filled at random
        self._model = model.float().eval().requires_grad_(False)
        self._processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        positions = getattr(getattr(model.config, "text_config", None), "max_position_embeddings", 77)
        self.longest = min(int(positions), int(self._tokenizer.model_max_length))
        # SigLIP has seen nothing but sentences padded to the full length
        self.padded = "siglip" in model.config.model_type
        with torch.inference_mode():
            self.dim = int(self.sentences(torch.tensor([self.ids("a")])).shape[1])

    def prepare(self, image: Any) -> Pixels:
        return np.asarray(self._processor(images=image, return_tensors="np")["pixel_values"][0], dtype=np.float32)

    def images(self, images: Pixels) -> Any:
        import torch

        return _pooled(self._model.get_image_features(pixel_values=torch.from_numpy(images)))

    def ids(self, sentence: str) -> list[int]:
        padding = "max_length" if self.padded else False
        ids: list[int] = self._tokenizer(sentence, padding=padding, truncation=True, max_length=self.longest).input_ids
        return ids

    def sentences(self, ids: Any) -> Any:
        return _pooled(self._model.get_text_features(input_ids=ids))

    def tokenizer(self) -> Any:
        return _carried(self._tokenizer, self.longest if self.padded else None)


class _OpenClip:
    def __init__(self, weights: Path, backbone: str | None) -> None:
        import open_clip
        import torch
        from open_clip import transform

        if backbone is not None and backbone not in open_clip.list_models():
            raise ValueError(f"open_clip knows no architecture {backbone}")
        name = backbone or f"local-dir:{weights}"
        self._model = open_clip.create_model(
            name,
            pretrained=str(weights) if backbone else None,
            pretrained_text=False,
            require_pretrained=True,
        )
        self._model.eval().requires_grad_(False)
        preparation = transform.PreprocessCfg(**self._model.visual.preprocess_cfg)
        self._transform = transform.image_transform_v2(preparation, is_train=False)
        self._tokenizer = open_clip.get_tokenizer(name)
        self.longest = int(self._tokenizer.context_length)
        self.padded = True
        with torch.inference_mode():
            self.dim = int(self.sentences(torch.tensor([self.ids("a")])).shape[1])

    def prepare(self, image: Any) -> Pixels:
        return np.asarray(self._transform(image).numpy(), dtype=np.float32)

    def images(self, images: Pixels) -> Any:
        import torch

        return self._model.encode_image(torch.from_numpy(images))

    def ids(self, sentence: str) -> list[int]:
        ids: list[int] = self._tokenizer([sentence])[0].tolist()
        return ids

    def sentences(self, ids: Any) -> Any:
        return self._model.encode_text(ids)

    def tokenizer(self) -> Any:
        inner = getattr(self._tokenizer, "tokenizer", None)  # of transformers, with some
        return _byte_pairs(self._tokenizer, self.longest) if inner is None else _carried(inner, self.longest)


def _pooled(output: Any) -> Any:
    """The vector itself; newer versions of transformers wrap it."""
    return getattr(output, "pooler_output", output)


def _carried(tokenizer: Any, padding: int | None) -> Any:
    """A tokenizer of transformers as the `tokenizers` package has it, which knows no framework."""
    from tokenizers import Tokenizer

    inner = getattr(tokenizer, "backend_tokenizer", None)
    if inner is None:
        raise ValueError(f"its {type(tokenizer).__name__} has no form that `tokenizers` reads")
    copy = Tokenizer.from_str(inner.to_str())
    copy.no_truncation()
    copy.no_padding()
    if padding is not None:
        copy.enable_padding(length=padding, pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return copy


def _byte_pairs(tokenizer: Any, padding: int) -> Any:
    """OpenAI's own tokenizer, which open_clip keeps, as the `tokenizers` package has it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    if not hasattr(tokenizer, "bpe_ranks"):
        raise ValueError(f"its {type(tokenizer).__name__} has no form that `tokenizers` reads")
    merges = [pair for pair in tokenizer.bpe_ranks if len(pair) == 2]
    copy = Tokenizer(models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>"))
    plain = {"[‘’]": "'", "[“”]": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"'}  # what there is most of
    straight = [normalizers.Replace(Regex(pattern), instead) for pattern, instead in plain.items()]
    spaces = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    copy.normalizer = normalizers.Sequence([normalizers.NFC(), *straight, *spaces, normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
    copy.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    first, last = tokenizer.sot_token_id, tokenizer.eot_token_id
    copy.post_processor = processors.TemplateProcessing(
        single="[FIRST] $A [LAST]", special_tokens=[("[FIRST]", first), ("[LAST]", last)]
    )
    copy.enable_padding(length=padding, pad_id=0)
    return copy
