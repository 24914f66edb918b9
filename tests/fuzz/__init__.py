"""Fuzz targets for what strangers send, and their seed corpus (docs/fuzzing.md)."""
