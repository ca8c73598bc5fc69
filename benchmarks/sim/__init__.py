"""The real picker against simulated model servers, in virtual time."""
