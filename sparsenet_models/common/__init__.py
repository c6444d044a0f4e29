"""What any room may use: checks of arguments, messages, files, devices. It imports nothing of the package."""
