"""Lock files, read by the tools that own them, and installed."""
