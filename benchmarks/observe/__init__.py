"""What it costs to be seen: OneHop's CPU with metrics, receipts and traces, against the same without any of them."""
