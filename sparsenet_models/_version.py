"""The version: a module of its own, so that no file has to import the package's face to tell it."""

__version__ = "0.1.0"
