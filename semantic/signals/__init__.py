"""What a text shows: domain, safety, difficulty, code, language and personal data, by rules, words and one encoder."""
