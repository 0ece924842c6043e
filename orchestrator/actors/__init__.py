"""Everything that runs inside the processes of a trial's gang, and the gang itself."""
