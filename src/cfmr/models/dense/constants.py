"""Fixed numbers of CFMR-Dense that its network and its ONNX graph share."""

SHARPNESS = 30.0  # of a word's own look: how fast it fades for words with other vectors
OWN_SHARE = 0.3  # of it, beside the look that a word has for its vector
