"""Known answers that others publish, from PyPI's ``cryptography_vectors``."""

from __future__ import annotations

import cryptography_vectors


def mldsa_known_answers(size: int) -> list[dict[str, bytes]]:
    """NIST's for ML-DSA-44, -65 or -87, deterministic and pure: xi, pk, msg, ctx, sm and others."""
    cases: list[dict[str, bytes]] = []
    path = f"asymmetric/MLDSA/kat_MLDSA_{size}_det_pure.rsp"
    with cryptography_vectors.open_vector_file(path, "r") as file:
        for line in file:
            name, _, value = line.strip().partition(" =")
            if name == "count":
                cases.append({})
            elif name and not name.endswith("len"):
                cases[-1][name] = bytes.fromhex(value)
    return cases
