"""Who the device is: its IDevID key, and what it may say of it."""
