"""What the factory remembers for ever: batches, chips, fingerprints, certificates. No secret.

One SQLite file; each module here is what is asked and entered of one thing in it. The rules of
intake and of build lists are said as refusals in :mod:`oem_backend.factory.intake` and
:mod:`oem_backend.factory.build_lists`.
"""
