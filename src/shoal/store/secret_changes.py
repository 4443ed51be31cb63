"""Whose secret changed, read again and again from the steps of administration; the first time also those of a while ago.

While nobody read, connections of devices whose secret was taken may have stayed. Those of a while ago are told with an
instant: what began after it was signed in by the new secret, and is left in peace.
"""

from __future__ import annotations

from shoal.store.devices import Devices


class SecretChanges:
    """Reads on from where it was. Calls block, one at a time; one that fails is made good by the next.

    Args:
        devices: Where the steps are.
        began_ns: When whoever asks began, on the machine's clock.
        look_back_ns: How far before that is looked the first time.
        believed_ns: For how long a former secret may have been believed after it was taken.
    """

    def __init__(self, devices: Devices, *, began_ns: int, look_back_ns: int, believed_ns: int) -> None:
        self._devices = devices
        self._began_ns = began_ns
        self._from_ns = began_ns - look_back_ns
        self._believed_ns = believed_ns
        self._step: int | None = None

    @property
    def reached(self) -> int | None:
        """The newest step that was read; None before the first reading."""
        return self._step

    def read(self) -> dict[str, int | None]:
        """Return whose secret was taken or replaced, and before which instant a connection has to have begun to be theirs.

        None: any connection, since nobody can have signed in by the new secret yet.

        Raises:
            UnavailableError: when the database cannot be reached.
        """
        first = self._step is None
        step, at_ns = self._devices.changed_since(self._step, from_ns=self._from_ns)
        self._step = step
        if not first:
            return dict.fromkeys(at_ns)
        until_ns = {device: t_ns + self._believed_ns for device, t_ns in at_ns.items()}
        return {device: t_ns if t_ns <= self._began_ns else None for device, t_ns in until_ns.items()}
