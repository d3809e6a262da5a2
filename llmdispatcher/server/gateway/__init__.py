"""The gateway: a WSGI callable with one table of routes over the server side of the wire formats."""
