"""The words of the field: identities, units, intervals, tables, results. Pure, and known to everybody."""
