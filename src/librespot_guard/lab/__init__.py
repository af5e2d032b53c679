"""Throw-away network namespaces, real daemons, real packets: the demo, `verify` and the tests stand on this."""
