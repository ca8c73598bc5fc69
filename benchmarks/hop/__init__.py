"""What one hop costs: a real Envoy with a picker behind it, and with none, in one run; `make bench-hop`."""
