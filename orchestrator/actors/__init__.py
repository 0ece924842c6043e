"""The processes of a gang, what passes between them, and how the living are told from the frozen."""
