"""What is asked of a fleet: traces of real serving, and generators with a seed."""
