"""One typed description of a run; reads the original release's JSON files unchanged."""

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cfmr.errors import InputError
from cfmr.files.atomic import read_json

# Sizes are bounded far above any use, so that a damaged file asks for no memory that no machine has.
Positive = Annotated[int, Field(gt=0, le=10_000_000)]
Width = Annotated[int, Field(gt=0, le=1 << 16)]
Layers = Annotated[int, Field(gt=0, le=128)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
NotNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A part of the file. Unknown keys are refused, so that a misspelt one is never silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Dataset(Section):
    """Where the data lies, and to what size it is brought. Paths are relative to the working directory.

    An empty `test_data` says that there is nothing to measure on in the end.
    """

    dataset: str
    feature_path: str
    vocab_size: Positive
    word_dim: Width
    frame_dim: Width
    max_num_words: Width
    max_num_frames: Annotated[int, Field(ge=8, le=1 << 20)]
    target_stride: Positive = 1
    train_data: str
    test_data: str
    val_data: str | None = None
    vocab_path: str


class Optimizer(Section):
    """Adam's settings (Method, Losses)."""

    lr: Annotated[float, Field(gt=0)]
    weight_decay: NotNegative = 0.0
    warmup_updates: Positive
    warmup_init_lr: NotNegative


class Training(Section):
    """How long to train, and where checkpoints go."""

    optimizer: Optimizer
    batch_size: Width
    max_num_epochs: Positive
    train_txt_decoder_epoch: int = 0  # in the original's files; nothing reads it
    model_saved_path: str

    @property
    def epochs(self) -> int:
        """Passes over the rows."""
        return self.max_num_epochs


class Transformers(Section):
    """Sizes of the encoders (`num_decoder_layers1`) and of the reconstructor (`num_decoder_layers2`)."""

    d_model: Width
    num_heads: Width
    num_decoder_layers1: Layers
    num_decoder_layers2: Layers
    dropout: Probability

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Transformers":
        if self.d_model % self.num_heads:
            raise ValueError(f"d_model {self.d_model} is not divisible by num_heads {self.num_heads}")
        return self


class CFMRSizes(Section):
    """The published model's sizes; the spelling `guass_*` is that of the original's files."""

    frames_input_size: Width
    words_input_size: Width
    hidden_size: Width
    use_negative: bool = True
    sigma: Annotated[float, Field(gt=0)]
    gamma: NotNegative
    dropout: Probability
    Transformers: Transformers
    num_concept: Width
    guass_width_num_training: Width
    width_thresh_training: Fraction
    guass_center_num: Width
    guass_width_num: Width
    width_thresh: Fraction

    @model_validator(mode="after")
    def _one_width(self) -> "CFMRSizes":
        if self.hidden_size != self.Transformers.d_model:
            raise ValueError(
                f"hidden_size {self.hidden_size} differs from Transformers.d_model {self.Transformers.d_model}"
            )
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size {self.hidden_size} is odd; half of it holds sines, half cosines")
        return self


class CFMRModel(Section):
    """The published model."""

    name: Literal["CFMR"]
    config: CFMRSizes


class CFMRLoss(Section):
    """Margins and weights of the published losses (Method, Losses)."""

    margin_1: float
    margin_2: float
    margin_3: float
    margin_4: float
    use_ref_words_rec: bool
    use_ref_words_sam: bool
    alpha_1: NotNegative
    alpha_2: NotNegative


def _same_sizes(dataset: Dataset, sizes: CFMRSizes) -> None:
    for key, here, there in (
        ("frames_input_size", sizes.frames_input_size, dataset.frame_dim),
        ("words_input_size", sizes.words_input_size, dataset.word_dim),
    ):
        if here != there:
            other = "frame_dim" if key.startswith("frames") else "word_dim"
            raise ValueError(f"model.config.{key} is {here} but dataset.{other} is {there}")


class CFMRConfig(Section):
    """A run of the published model."""

    dataset: Dataset
    train: Training
    model: CFMRModel
    loss: CFMRLoss

    @model_validator(mode="after")
    def _features_fit(self) -> "CFMRConfig":
        _same_sizes(self.dataset, self.model.config)
        return self


class DenseReading(Section):
    """Values of `cfmr.moments.span_reader.SpanReader` that are given; what is left out is chosen by the fit."""

    width: Fraction | None = None
    width_spread: Annotated[float, Field(gt=0)] | None = None
    width_exponent: Annotated[float, Field(ge=0, le=1)] | None = None
    curve_weight: NotNegative | None = None
    place_weight: NotNegative | None = None
    overlap: Annotated[float, Field(ge=0, le=1)] | None = None


class DenseModel(Section):
    """The model that compares a sentence with every clip."""

    name: Literal["CFMR-Dense"]
    config: DenseReading = DenseReading()


class DenseTraining(Section):
    """How many fits stand side by side in a model, and where checkpoints go.

    `prior`: what is known of words without training is used too, where the features allow it.
    `prior_checkpoint`: the vision-language checkpoint that made the features, a folder or a name, for what it knows.
    """

    num_fits: Annotated[int, Field(gt=0, le=16)] = 3
    prior: bool = True
    prior_checkpoint: str | None = None
    model_saved_path: str = "runs"

    @property
    def epochs(self) -> int:
        """Each fit counts as one."""
        return self.num_fits


class DenseConfig(Section):
    """A run of CFMR-Dense (Method, CFMR-Dense). Nothing but the data has to be named."""

    dataset: Dataset
    model: DenseModel
    train: DenseTraining = DenseTraining()

    @model_validator(mode="before")
    @classmethod
    def _sizes_are_the_datasets(cls, value: Any) -> Any:
        """The published model's configurations say the sizes of inputs twice; so may these, if they agree."""
        dataset = value.get("dataset") if isinstance(value, dict) else None
        model = value.get("model") if isinstance(value, dict) else None
        sizes = model.get("config") if isinstance(model, dict) else None
        if not isinstance(model, dict) or not isinstance(sizes, dict) or not isinstance(dataset, dict):
            return value
        for key, other in (("frames_input_size", "frame_dim"), ("words_input_size", "word_dim")):
            if key in sizes and sizes[key] != dataset.get(other):
                raise ValueError(f"model.config.{key} is {_shown(sizes[key])}, dataset.{other} {dataset.get(other)!r}")
        kept = {key: item for key, item in sizes.items() if key not in ("frames_input_size", "words_input_size")}
        return {**value, "model": {**model, "config": kept}}


Config = CFMRConfig | DenseConfig
MODELS: dict[str, type[CFMRConfig] | type[DenseConfig]] = {"CFMR": CFMRConfig, "CFMR-Dense": DenseConfig}


def _explain(source: str, error: ValidationError) -> InputError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return InputError(f"{source}: key '{key}' is missing; add it")
    if first["type"] == "extra_forbidden":
        return InputError(f"{source}: key '{key}' is not known; remove it or correct its spelling")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    where = f"key '{key}': " if key else ""
    got = f" (found {_shown(first['input'])})" if not isinstance(first["input"], dict) else ""
    return InputError(f"{source}: {where}{message}{got}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def parse_config(value: Any, source: str) -> Config:
    """Check a configuration that was read from `source`.

    Raises:
        InputError: one line that names `source` and the first key that is unknown, missing or wrong.
    """
    if not isinstance(value, dict):
        raise InputError(f"{source}: a configuration is a JSON object with dataset, train, model and loss")
    model = value.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    if isinstance(model, dict) and not (isinstance(name, str) and name in MODELS):
        raise InputError(f"{source}: key 'model.name' is {_shown(name)}; known are {', '.join(MODELS)}")
    if name == "CFMR-Dense" and "loss" in value:
        raise InputError(
            f"{source}: key 'loss' is of an earlier CFMR-Dense, which was told what this one finds in the labels; "
            "remove 'loss', 'train' and 'model.config', and train anew"
        )
    try:
        return MODELS.get(str(name), CFMRConfig).model_validate(value)
    except ValidationError as error:
        raise _explain(source, error) from None


def load_config(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file (the original's JSON, see Method, Published configurations). Raises InputError."""
    return parse_config(read_json(path), str(path))


PRESETS = ("dense", "cfmr")


def preset(name: str, root: str | os.PathLike[str] = "runs/demo") -> Config:
    """A configuration that comes with the package: "dense", CFMR-Dense; "cfmr", the published model.

    Both are sized for a few hundred videos with features of efficientnet-lite0.

    Args:
        name: one of `PRESETS`.
        root: directory of the run; the feature file and the annotations are looked for below it.

    Raises:
        InputError: no preset has that name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: known are {', '.join(PRESETS)}")
    value = json.loads(files("cfmr").joinpath("presets", f"{name}.json").read_text(encoding="utf-8"))
    root = Path(root)
    value["dataset"] |= {
        "feature_path": str(root / "features.hdf5"),
        **{f"{split}_data": str(root / "annotations" / f"{split}.json") for split in ("train", "val", "test")},
    }
    return parse_config(value, f"presets/{name}.json")
