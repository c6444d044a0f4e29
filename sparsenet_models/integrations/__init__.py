"""Doors into other libraries and file formats, each of which must be installed for its own module alone."""
