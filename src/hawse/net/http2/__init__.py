"""HTTP/2 (RFC 9113), as much as gRPC and ordinary requests need: no push, no priorities, no upgrade from HTTP/1.1."""
