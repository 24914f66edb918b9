"""The device: from a seed, or from files, to a local identity (RFC 8995 §5). See docs/pledge.md."""
