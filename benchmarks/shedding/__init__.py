"""What overload does to critical, standard and sheddable requests, by who decides which of them are refused."""
