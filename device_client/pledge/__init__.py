"""The pledge's decisions: events in, effects out. Knows no socket, file, clock or randomness."""
