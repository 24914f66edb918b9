"""The language that all sides of BRSKI speak: bytes and rules (RFC 8995, RFC 8366, RFC 7030).

Everything below, :mod:`brski.edge` aside, is sans-IO: values in, value or exception out. Time,
nonces, keys and records are arguments.
"""
