"""The protocol as sans-IO machines: messages, state tables, and one machine per party and kind."""
