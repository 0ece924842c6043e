"""Files of a results store, written so that a reader never sees half of one."""
