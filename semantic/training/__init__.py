"""How the shipped weights were made: every script takes its data as paths and writes what it is told to."""
