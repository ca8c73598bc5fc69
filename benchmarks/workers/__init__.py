"""What `--workers` costs and what it takes off the process that decides."""
