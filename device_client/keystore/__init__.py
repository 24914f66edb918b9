"""What an enrolled device keeps: LDevID, its key, and whom it trusts."""
