"""Moments to search: what an index is (`base`), where (`open`), and how it is built (`build`).

`embedded` keeps one in a directory, `milvus` in a server.
"""

BUILT_IN = "builtin"  # in place of a checkpoint: the prior that comes with the default extractor
