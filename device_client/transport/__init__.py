"""How the pledge's messages travel: one TLS connection that it owns, and HTTP/1.1 on it."""
