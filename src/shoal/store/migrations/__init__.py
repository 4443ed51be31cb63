"""The schema's history, applied by `store.database.migrate`; a released revision never changes."""
