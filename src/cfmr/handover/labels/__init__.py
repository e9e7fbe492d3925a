"""Labels of other tools: read into annotations, and written for them."""
