"""What a device of the demo is made of: where its seed is, and who signs with the key."""
