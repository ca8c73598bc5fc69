"""Tables that others have published, as plain values; `README.md` says of whom, and under which licence."""
