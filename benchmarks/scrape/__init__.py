"""What does it cost to read the numbers of many model servers? `python -m benchmarks.scrape --json FILE`."""
