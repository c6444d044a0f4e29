"""Doors into other libraries, each of which must be installed for its own module alone."""
