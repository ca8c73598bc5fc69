"""The Kubernetes API server as this process needs it: a connection, informers, a leader's lease, events."""
