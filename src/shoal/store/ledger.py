"""The ledger: every fact of the market cycle, with what it is about and when it was known.

One class for its users; its parts are written in modules of their own and share nothing but the database.
"""

from __future__ import annotations

from shoal.store.accounts import Accounts
from shoal.store.cycles import Cycles
from shoal.store.runs import Runs


class Ledger(Cycles, Accounts, Runs):
    """Bids, awards, statements and runs in a migrated database. Calls block; an asynchronous caller runs them in a thread.

    Recording the same fact twice changes nothing; recording another under the same name is refused.
    """
