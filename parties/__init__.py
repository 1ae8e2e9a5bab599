"""The two programs that organisations run; each reads its configuration, loads its keys and composes the library."""
