"""Kernels: their specification, what they need to start, how they are tried, and the server's sessions."""
