"""Code of several test files: nets, a server, processes, and the record of faults."""
