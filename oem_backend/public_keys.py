"""Public keys of others that the settings name by file: the factory's, the vendor's."""

from __future__ import annotations

from brski.edge.signers.public_key import load_public_key

__all__ = ["load_public_key"]
