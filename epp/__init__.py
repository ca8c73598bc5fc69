"""OneHop's endpoint picker: one `ext_proc` process that picks the model and the replica of a request."""
