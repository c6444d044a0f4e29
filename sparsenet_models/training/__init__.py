"""The training loop that made the bundled weights, and what it is built from."""
