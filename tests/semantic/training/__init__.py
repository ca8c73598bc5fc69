"""Tests of what training needs no torch for."""
