"""Files that run under other Pythons, or are copied: the standard library only, and nothing else of this package."""
