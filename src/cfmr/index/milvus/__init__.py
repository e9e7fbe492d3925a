"""Moments to search in a Milvus server: for collections that one machine does not hold.

An address names an alias. It points to the moments of one model, a collection whose description says so; beside it are
two small ones, for what is known of the videos and for the files that a searching client needs. See `layout.py` for
what is kept, `store.py` for reading and `writer.py` for filling.
"""
