"""Numbers and tables of a back-test's page as text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def money(amount: float) -> str:
    """Return an amount without its decimals."""
    sign = "−" if round(amount) < 0 else ""
    return f"{sign}{abs(amount):,.0f}"


def percent(share: float | None) -> str:
    """Return a share, a dash for none."""
    return "–" if share is None else f"{100 * share:.1f} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose first column names the rows."""
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
