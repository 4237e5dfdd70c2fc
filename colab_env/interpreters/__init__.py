"""Where an interpreter comes from: one module each, with one `InterpreterSource`. `interpreter_sources` finds them here."""
