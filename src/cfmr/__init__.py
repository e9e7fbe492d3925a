"""Search inside video by sentence."""
