"""Makes a net fast on the machine at hand, with the same outputs."""
