"""`shoal forecast`: how good the forecasts are, on prices that really came."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from shoal.cli.options import AsJson, print_columns, print_json
from shoal.domain.errors import InvalidInputError

app = typer.Typer(help="Score forecasts on real prices.", no_args_is_help=True, rich_markup_mode=None)

_TESTED_DAYS: Final = 728


def register(root: typer.Typer) -> None:
    """Add the commands."""
    root.add_typer(app, name="forecast")


@app.callback()
def forecasts() -> None:
    """Score forecasts on real prices."""


@app.command(short_help="Back-test the day-ahead forecast on a file of prices.")
def score(
    market: Annotated[str, typer.Option("--market", help="A market in the file, e.g. NP.")],
    data: Annotated[Path, typer.Option("--data", metavar="FILE", help="Parquet: market, ts, price, exog...")],
    peers: Annotated[
        Path | None,
        typer.Option(
            "--peers", metavar="FILE", help="Parquet of others' forecasts: market, ts, one column each."
        ),
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First day; without it, the last 728 days.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, included.")] = None,
    warm_up_days: Annotated[
        int, typer.Option("--warm-up-days", min=0, help="Days run before, unscored.")
    ] = 182,
    as_json: AsJson = False,
) -> None:
    """Forecast each day from the days before it, recalibrated daily, and score it beside a seasonal naive.

    Revenue is what a battery of 1 MW and 2 h (round trip 85 %) earns on the day by the exact plan on the forecast, as a
    share of perfect foresight. p is the chance of such a lead if the other were as good (Diebold-Mariano with
    Newey-West errors, days as units).
    """
    from shoal.cli.forecast_days import backtest, read_forecasts, read_market
    from shoal.cli.forecast_days import score as scores_of
    from shoal.forecast.dayahead import MODEL, DayAheadRecipe

    file = read_market(data, market)
    last = len(file.observed) - 1 if to is None else file.row_of(_date("--to", to))
    first = last + 1 - _TESTED_DAYS if from_ is None else file.row_of(_date("--from", from_))
    others = {}
    if peers is not None:
        begin, named = read_forecasts(peers, market)
        offset = first - file.row_of(begin)
        for name, prices in named.items():
            if offset < 0 or offset + last + 1 - first > len(prices):
                fix = f"it has {len(prices)} days from {begin}; narrow --from and --to"
                raise InvalidInputError(field="--peers", value=str(peers), fix=fix)
            others[name] = prices[offset : offset + last + 1 - first]
    days = last + 1 - first + min(warm_up_days, first)
    with typer.progressbar(length=days, label=market, file=sys.stderr) as bar:
        tested = backtest(
            DayAheadRecipe(), file, first, last, warm_up_days=warm_up_days, on_day=lambda: bar.update(1)
        )
    outcome: dict[str, Any] = {
        "market": market,
        "model": MODEL,
        "days": len(tested.central),
        "train_s_per_day": tested.train_s / tested.trained_days,
        "forecast_s_per_day": tested.forecast_s / tested.trained_days,
        "scores": scores_of(file, tested, others),
    }
    if as_json:
        print_json(outcome)
    else:
        _print(outcome)


def _date(field: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(field=field, value=text, fix="write it as 2018-12-24") from error


_COLUMNS: Final = (
    ("mae", "MAE", "{:.3f}"),
    ("rmae", "rMAE", "{:.3f}"),
    ("smape", "sMAPE", "{:.3f}"),
    ("pinball", "pinball", "{:.3f}"),
    ("crps", "CRPS", "{:.3f}"),
    ("coverage_50", "in 50 %", "{:.1%}"),
    ("coverage_90", "in 90 %", "{:.1%}"),
    ("revenue_share", "revenue", "{:.1%}"),
    ("p_shoal_better", "p", "{:.4f}"),
)


def _print(outcome: dict[str, Any]) -> None:
    typer.echo(
        f"{outcome['market']}, {outcome['days']} days, {outcome['model']}: training "
        f"{outcome['train_s_per_day']:.3f} s, forecast {outcome['forecast_s_per_day'] * 1e3:.1f} ms a day"
    )
    rows = [("forecast", *(head for _, head, _ in _COLUMNS))]
    for row in outcome["scores"]:
        cells = (form.format(row[key]) if key in row else "-" for key, _, form in _COLUMNS)
        rows.append((row["forecast"], *cells))
    print_columns(rows)
