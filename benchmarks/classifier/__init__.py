"""How fast the semantic stage reads: throughput and latency by length and concurrency."""
