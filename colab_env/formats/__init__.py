"""The formats of lock files: one module each, with one subclass of `LockFormat`. `locks.registry` finds them by looking here."""
