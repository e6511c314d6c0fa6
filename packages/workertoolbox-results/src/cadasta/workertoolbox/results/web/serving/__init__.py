"""The server of `tasks web`: its options, its address, and the proxies before it."""
