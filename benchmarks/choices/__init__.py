"""Who decides which model answers: the incumbents' rules, an oracle, and our own semantic stage."""
