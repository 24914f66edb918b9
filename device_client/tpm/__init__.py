"""The device's TPM 2.0: one connection at a time, keys that sign inside. Needs the extra [tpm]."""
