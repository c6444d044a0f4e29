"""What several test files share: nets, servers, processes, and the record of faults."""
