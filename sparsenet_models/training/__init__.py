"""The trainer that made the bundled weights, its recipes, and the release of trained weights."""
