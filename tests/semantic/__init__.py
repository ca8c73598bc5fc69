"""Tests of the semantic stage."""
