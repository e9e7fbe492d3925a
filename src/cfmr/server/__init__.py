"""The web page and its HTTP API over a retriever, a folder of videos and a store of labels."""
