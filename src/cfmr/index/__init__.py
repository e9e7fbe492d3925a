"""Moments to search: the embedded index.

An index is a directory. Everything in it is immutable but `manifest.json`, which names the rest and is replaced in one
rename; see `manifest.py` for the layout, `store.py` for reading, `writer.py` for adding, replacing and removing videos.
"""
