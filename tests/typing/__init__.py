"""The verdicts of a type checker on programs that use the library."""
