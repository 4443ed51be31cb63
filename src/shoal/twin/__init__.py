"""Digital twins as columns: what each site last said, how old it is, and sums up the hierarchies."""
