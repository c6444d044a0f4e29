"""The version, in a module that every other module can import."""

__version__ = "0.1.0"
"""The version of the library, by PEP 440."""
