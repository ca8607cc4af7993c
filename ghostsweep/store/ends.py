"""What later phases begin from: the parameters and moments with which runs ended, read from where they are stored."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ghostsweep.store.manifest import Manifest
from ghostsweep.store.tables import Place, Stored, arrays_at

KEPT_FILES, KEPT_BYTES = 4, 2**28
"""Files with ends that are kept in memory while later phases are trained: so many, or more if they are no larger."""


class Ends:
    """What later phases begin from, found by run id in a folder to which parts are added meanwhile.

    Each file is read once, as long as KEPT_BYTES hold all that chunks go on from; else at most once a chunk.
    """

    def __init__(
        self, folder: Path, found: Stored | None = None, given: Mapping[str, Mapping[str, np.ndarray]] | None = None
    ) -> None:
        self.folder, self.manifest = folder, found.manifest if found else Manifest()
        self.places, self.given = dict(found.ends if found else {}), dict(given or {})
        self.kept = dict[Place, tuple[dict[str, int], dict[str, np.ndarray]]]()  # the last used ones last
        self.held = 0  # bytes of these

    def add(self, name: str, run_ids: Iterable[str]) -> None:
        """Know of a part that has the ends of these runs."""
        self.places |= dict.fromkeys(run_ids, Place(name))

    def of(self, run_ids: Iterable[str]) -> list[Mapping[str, np.ndarray]]:
        """What later phases of these runs begin from, by name. Raises KeyError where that is not stored, or Damaged."""
        wanted, found = list(run_ids), dict[str, Mapping[str, np.ndarray]]()
        if missing := {run for run in wanted if run not in self.places and run not in self.given}:
            raise KeyError(f"the end of {len(missing)} runs that these go on from is not there")
        of_place: dict[Place, list[str]] = {}
        for run in dict.fromkeys(wanted):
            if run in self.given:
                found[run] = self.given[run]
            else:
                of_place.setdefault(self.places[run], []).append(run)
        for place, runs in of_place.items():  # each is read once, however its runs lie among the others
            rows, arrays = self._read(place)
            own = {name: array[[rows[run] for run in runs]] for name, array in arrays.items()}
            found |= {run: {name: array[i] for name, array in own.items()} for i, run in enumerate(runs)}
        return [found[run] for run in wanted]

    def _read(self, place: Place) -> tuple[dict[str, int], dict[str, np.ndarray]]:
        """The rows of runs in a file, and its arrays. KEPT_FILES last used ones stay, or as many as KEPT_BYTES hold."""
        if place in self.kept:
            self.kept[place] = self.kept.pop(place)
            return self.kept[place]
        arrays = arrays_at(self.folder, self.manifest, place, "ends")
        ids = arrays.pop("run_id" if "run_id" in arrays else "_runs").tolist()
        named = {name.removeprefix("/"): array for name, array in arrays.items()}
        self.kept[place] = {run: i for i, run in enumerate(ids)}, named
        self.held += sum(array.nbytes for array in named.values())
        while len(self.kept) > KEPT_FILES and self.held > KEPT_BYTES:
            _, dropped = self.kept.pop(next(iter(self.kept)))
            self.held -= sum(array.nbytes for array in dropped.values())
        return self.kept[place]


def end_digest(end: Mapping[str, np.ndarray]) -> str:
    """What tells the end of one training from that of another: 16 hexadecimal digits of names and values."""
    text = hashlib.blake2b(digest_size=8)
    for name, value in sorted(end.items()):
        text.update(f"{name}{value.dtype}{value.shape};".encode() + np.ascontiguousarray(value).tobytes())
    return text.hexdigest()
