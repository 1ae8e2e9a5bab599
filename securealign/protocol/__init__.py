"""The protocol as sans-IO machines: messages, state tables, and the four parties of its two phases."""
