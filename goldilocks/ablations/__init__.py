"""What ablations compare, what is recorded of each run, and what is made of the runs together."""
