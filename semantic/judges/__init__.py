"""Declared signals: each judge turns what is known of a request into verdicts that conditions refer to. Pure."""
