"""Keys and certificates that outlive a session."""
