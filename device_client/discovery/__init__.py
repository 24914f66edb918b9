"""How a device finds registrars and join proxies that nobody has told it of (RFC 8995 §4.1)."""
