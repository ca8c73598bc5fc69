"""Plugins that are parameters only, by what they are for. What follows from them is where their reader lives."""
