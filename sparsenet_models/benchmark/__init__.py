"""Speed and memory of nets in several engines, ours beside those of other libraries, in one run."""
