"""Measurements, as ratios taken in one run: ``python -m benchmarks --json [NAME...]``."""
