"""The programs that a held seat starts."""
