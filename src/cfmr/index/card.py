"""The card of an index: what a reader has to know of the model that made it."""

from pathlib import Path
from typing import Any

from cfmr.errors import InputError
from cfmr.files.atomic import read_json

MAX_NUMBERS = 1 << 24  # of a row or a vector


def load_card(path: Path) -> dict[str, Any]:
    """The card of an index, with the values that searching relies on checked.

    Raises:
        InputError: it cannot be read, or a value is missing or none that a card has.
    """
    card = read_json(path)
    if not isinstance(card, dict):
        raise InputError(f"{path}: the card of an index is a JSON object; build the index again")
    for key, most in (("width", MAX_NUMBERS), ("dim", MAX_NUMBERS), ("max_words", 1 << 16)):
        value = card.get(key, 1 if key == "dim" else None)
        if type(value) is not int or not 0 < value <= most:
            raise InputError(f"{path}: key '{key}' is no size; build the index again")
    for key in ("name", "fingerprint"):
        if not isinstance(card.get(key, ""), str):
            raise InputError(f"{path}: key '{key}' is no text; build the index again")
    return card
