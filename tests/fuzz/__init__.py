"""Fuzzing of every decoder; see README.md."""
