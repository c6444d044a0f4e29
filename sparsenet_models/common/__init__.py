"""Checks of arguments, error messages, files, devices, for all folders. It imports nothing of the package."""
