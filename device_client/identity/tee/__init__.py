"""The signer of a device whose seed one process alone can read; docs/tee.md."""
