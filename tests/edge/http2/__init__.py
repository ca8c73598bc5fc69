"""Our HTTP/2: the connection by itself, against the `h2` library, and over sockets."""
