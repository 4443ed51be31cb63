"""History as the settings describe it: where it lives, in which form, how it is read, written and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shoal.domain.fleet import Fleet
    from shoal.runtime.settings import Settings
    from shoal.store.history import History
    from shoal.store.history_folder import Folder
    from shoal.store.history_keep import Keeper
    from shoal.store.history_register import Register
    from shoal.store.history_table import RawTable
    from shoal.store.history_write import Writer
    from shoal.twin.layout import Layout
    from shoal.twin.silence_learned import LearnedSilence


def history_folder(settings: Settings) -> Folder:
    """Return the folder of history; it need not exist yet.

    Raises:
        InvalidInputError: when the URL names no kind of store.
        UnavailableError: when the package for this kind of store is not installed.
    """
    from shoal.store.history_folder import open_folder

    return open_folder(settings.history.url or settings.data_dir / "history")


def history_disk(settings: Settings) -> Path | None:
    """Return the folder of this machine that history fills; None when it lives in a store elsewhere."""
    url = settings.history.url or str(settings.data_dir / "history")
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)


def open_history(settings: Settings, site_ids: Sequence[str] = ()) -> History:
    """Return history for reading, with the names of sites by number as the table ``sites``.

    Raises:
        InvalidInputError: see `history_folder`.
        UnavailableError: see `history_folder`.
    """
    from shoal.store.history import History

    folder = history_folder(settings)
    return History(
        folder,
        memory_limit=f"{settings.history.query_memory_mb}MB",
        timeout_s=settings.history.query_timeout_s,
        site_ids=site_ids,
        raw=raw_table(settings, folder),
    )


def raw_table(settings: Settings, folder: Folder) -> RawTable:
    """Return the samples of a history."""
    if settings.history.format == "delta":
        from shoal.store.history_delta import DeltaSamples

        return DeltaSamples(folder)
    from shoal.store.history_table import ParquetTable

    return ParquetTable(folder)


def history_writer(settings: Settings, folder: Folder, unit: str, register: Register) -> Writer:
    """Return the writer of a unit that is owned."""
    if settings.history.format == "delta":
        from shoal.store.history_delta import DeltaWriter

        return DeltaWriter(folder, unit, register)
    from shoal.store.history_write import PartWriter

    return PartWriter(folder, unit, register)


def history_keeper(settings: Settings, folder: Folder, *, grace_s: float | None = None) -> Keeper:
    """Return what keeps a history in shape; `grace_s` tells how long replaced files stay."""
    from shoal.store.history_keep import Keeper, KeepOptions

    kept = settings.history
    options = KeepOptions(
        settle_s=kept.settle_s,
        hold_s=settings.telemetry.fresh_timeout_s,
        raw_days=kept.raw_days,
        rollup_5min_days=kept.rollup_5min_days,
        rollup_1h_days=kept.rollup_1h_days,
        grace_s=max(600.0, 2 * kept.query_timeout_s) if grace_s is None else grace_s,
    )
    return Keeper(folder, options, raw_table(settings, folder))


def learn_silence_of(
    settings: Settings,
    fleet: Fleet,
    layout: Layout,
    *,
    now_ns: int,
    stop: Callable[[], bool] = lambda: False,
) -> LearnedSilence:
    """Return the table of silent sites that history teaches at an instant, see `shoal.telemetry.silence_sample`.

    Raises:
        TooLittleHistoryError: when it does not reach back far enough.
        UnavailableError: when it cannot be read.
        CorruptStateError: when a file of it is damaged.
    """
    from shoal.telemetry.silence_sample import learn_own

    history = open_history(settings)
    try:
        return learn_own(
            history,
            fleet,
            layout,
            now_ns=now_ns,
            days=settings.history.learn_silence_days,
            sites=settings.history.learn_silence_sites,
            fresh_s=settings.telemetry.fresh_timeout_s,
            stop=stop,
        )
    finally:
        history.close()
