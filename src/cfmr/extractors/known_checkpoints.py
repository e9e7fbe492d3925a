"""Vision-language checkpoints that are known by name: where they are published, and which of them are here.

Each is pinned to a commit of its repository. Its weights are one safetensors file, whose SHA-256 is pinned too where it
is known; else it is what the hub declares for that commit. `cfmr.extractors.hub` fetches them.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cfmr.errors import InputError
from cfmr.files.atomic import data_folder, present_directory, read_json

INSTALL = "pip install 'cfmr[zero-shot,backbones]'"  # what downloading and using one needs
RECORD = "cfmr.json"  # in the folder of a checkpoint that was fetched: what it consists of


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A published checkpoint.

    Attributes:
        name: what it is called here.
        repository, revision: on the hub; the revision is a commit.
        weights: the file of its parameters.
        size: bytes of the weights, about.
        sha256: of the weights; None where the hub's word is taken.
        package: what reads it, "transformers" or "open_clip".
        kinds: what its configuration may call itself (`model_type`); none for open_clip's.
        licence: of the weights, as the repository states it.
        languages: of its sentences.
    """

    name: str
    repository: str
    revision: str
    weights: str
    size: int
    sha256: str | None
    package: str
    kinds: tuple[str, ...]
    licence: str
    languages: str

    def missing(self) -> list[str]:
        """Packages that are needed to use it and are not installed."""
        return [name for name in ("torch", self.package, "tokenizers") if importlib.util.find_spec(name) is None]


KNOWN = (
    KnownCheckpoint(
        name="clip-vit-b-32",
        repository="openai/clip-vit-base-patch32",
        revision="c237dc49a33fc61debc9276459120b7eac67e7ef",  # its main branch has no safetensors
        weights="model.safetensors",
        size=605_157_884,
        sha256=None,
        package="transformers",
        kinds=("clip",),
        licence="MIT (OpenAI's code; none stated for weights)",
        languages="English",
    ),
    KnownCheckpoint(
        name="clip-vit-l-14",
        repository="openai/clip-vit-large-patch14",
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
        weights="model.safetensors",
        size=1_710_540_580,
        sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
        package="transformers",
        kinds=("clip",),
        licence="MIT (OpenAI's code; none stated for weights)",
        languages="English",
    ),
    KnownCheckpoint(
        name="siglip2-base",
        repository="google/siglip2-base-patch16-224",
        revision="75de2d55ec2d0b4efc50b3e9ad70dba96a7b2fa2",
        weights="model.safetensors",
        size=1_500_800_904,
        sha256="612923381c76ec5a9bed335d1c48827e3f2e506ac31b044b63b2031fadee6a0b",
        package="transformers",
        kinds=("siglip", "siglip2"),
        licence="Apache-2.0",
        languages="over 100",
    ),
    KnownCheckpoint(
        name="mobileclip2-s0",
        repository="timm/MobileCLIP2-S0-OpenCLIP",
        revision="095906d28bf54d7584dc411e8ffe448f34289e05",
        weights="open_clip_model.safetensors",
        size=299_000_000,
        sha256="ab91a1a0c4330d6b1913e24d5035dfdea15423316aaec649610c6b1c6ddd0e95",
        package="open_clip",
        kinds=(),
        licence="Apple AMLR: research only",
        languages="English",
    ),
)


def known_checkpoint(name: str) -> KnownCheckpoint:
    """The checkpoint of a name. Raises InputError that lists the names if there is none."""
    for known in KNOWN:
        if known.name == name:
            return known
    raise InputError(f"{name}: no known checkpoint; there are {', '.join(known.name for known in KNOWN)}")


def folder_of(known: KnownCheckpoint) -> Path:
    """Where a checkpoint stands once it is fetched: links to files of the hub's cache."""
    return data_folder() / "checkpoints" / known.name


def is_installed(known: KnownCheckpoint) -> bool:
    """Whether all of a checkpoint is here."""
    folder = present_directory(folder_of(known))
    try:
        record = read_json(folder / RECORD)
        sizes = {str(name): int(size) for name, size in record["files"].items()}
        return record["revision"] == known.revision and all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return False


def resolve(weights: Path) -> Path:
    """The folder of a checkpoint that was given by name; any other path as it is.

    Raises:
        InputError: a name that is not known, or whose checkpoint was not fetched.
    """
    if weights.exists() or str(weights) != weights.name or weights.suffix:
        return weights
    try:
        known = known_checkpoint(weights.name)
    except InputError as error:
        raise InputError(
            f"{weights}: neither a folder of a checkpoint nor one that is known by name; {error}"
        ) from None
    if not is_installed(known):
        raise InputError(
            f"{known.name}: not fetched, or no longer complete; run: cfmr models fetch {known.name} "
            f"({megabytes(known.size)})"
        )
    return present_directory(folder_of(known))


def megabytes(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size / 1e6:,.0f} MB"
