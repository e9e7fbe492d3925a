"""The known checkpoints, as a terminal shows them."""

from collections.abc import Iterator, Sequence

from cfmr.extractors.known_checkpoints import KnownCheckpoint, is_installed, megabytes

HUB_SAYS = "as the hub declares it"


def table_of(checkpoints: Sequence[KnownCheckpoint]) -> Iterator[str]:
    """A block of lines a checkpoint, and what to do with them."""
    for known in checkpoints:
        yield f"{known.name}  {megabytes(known.size)}  {'installed' if is_installed(known) else 'not fetched'}"
        yield f"    {known.repository} at {known.revision}, read by {known.package}"
        yield f"    languages: {known.languages}; licence: {known.licence}"
        yield f"    SHA-256 of the weights: {known.sha256 or HUB_SAYS}"
    yield ""
    yield "cfmr models fetch NAME downloads one; then --weights NAME and --zero-shot NAME use it."
