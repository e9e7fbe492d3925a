"""The field's file layouts, read and written; docs/formats.md shows each with an example."""
