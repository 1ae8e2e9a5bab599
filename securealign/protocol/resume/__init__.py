"""Sessions that outlive connections and processes: what a machine states of itself, and how it is recorded."""
