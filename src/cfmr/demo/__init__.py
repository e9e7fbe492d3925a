"""The demo world: videos, sentences and glances rendered from a seed, and the whole pipeline on them."""
