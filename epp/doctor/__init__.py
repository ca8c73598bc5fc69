"""Known traps of inference gateways, looked for in Kubernetes objects: each check a function, none with any I/O."""
