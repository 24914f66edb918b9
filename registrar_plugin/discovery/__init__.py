"""How a registrar lets itself be found (RFC 8995 §4.3)."""
