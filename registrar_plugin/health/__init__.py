"""CAN IT: whether the registrar could carry an onboarding to its end now (docs/health.md)."""
