"""What others do, each from its published formula and in a file of its own."""
