"""Recorded requests decided again under another configuration: what would change, before it is changed."""
