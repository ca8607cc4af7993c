"""The slow places of networks of many runs and epochs, whatever their shapes; and the flow along one slow direction."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ghostsweep.declare import Shape
from ghostsweep.dynamics import visits
from ghostsweep.dynamics.ghosts import N_STARTS, SEPARATION, ghosts_of

TOGETHER = 512
"""Networks that are searched together."""


class Kept(NamedTuple):
    """Parameters of a run before the update of an epoch; fields are those of the run."""

    run_id: str
    epoch: int
    fields: Mapping[str, Any]
    params: Mapping[str, np.ndarray]

    @property
    def finite(self) -> bool:
        """Whether it is a network still."""
        return all(np.isfinite(value).all() for value in self.params.values())


def snapshots(run_id: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> list[Kept]:
    """The networks of a run: arrays has `epochs` (S,) and parameters by name, (S, ...), as `Tables.snapshots`."""
    order = np.argsort(arrays["epochs"], kind="stable")
    names = [name for name in arrays if name != "epochs"]
    return [
        Kept(run_id, int(arrays["epochs"][i]), fields, {name: np.asarray(arrays[name][i]) for name in names})
        for i in order
    ]


def ghosts_of_all(
    networks: Iterable[Kept], *, u: float = 0.0, n_starts: int = N_STARTS, separation: float = SEPARATION
) -> tuple[pd.DataFrame, int, int]:
    """The places of all networks that are finite, a row each with its run_id and epoch; how many are, how many not."""
    groups: dict[Shape, list[Kept]] = {}
    lost = 0
    for network in networks:
        if network.finite:
            groups.setdefault(visits.quiet_shape(network.fields), []).append(network)
        else:
            lost += 1
    parts = []
    for group in groups.values():
        for first in range(0, len(group), TOGETHER):
            some = group[first : first + TOGETHER]
            stacked = {name: np.stack([one.params[name] for one in some]) for name in some[0].params}
            of_all = visits.networks_of([one.fields for one in some], stacked)
            found = ghosts_of(of_all, u=u, n_starts=n_starts, separation=separation)
            at = found.pop("network").to_numpy()
            found.insert(0, "epoch", np.array([one.epoch for one in some])[at])
            found.insert(0, "run_id", np.array([one.run_id for one in some], object)[at])
            parts.append(found)
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table, sum(map(len, groups.values())), lost


def slow_flow(network: Kept, place: "pd.Series[Any]", *, u: float = 0.0, span: float = 3.0) -> pd.DataFrame:
    """The flow of a network along the slow direction of a place, a row of `ghosts_of_all`, and its canonical form.

    Columns: s, along v in half-widths from the place, up to `span` to either side; flow, w . F(y0 + s v), 1/tau;
    canonical, r + a s^2.
    """
    of_one = visits.networks_of([network.fields], {name: value[None] for name, value in network.params.items()})
    s = np.linspace(-span, span, 121)
    along = s * place["half_width"]
    states = np.asarray(place["position"]) + along[:, None] * np.asarray(place["v"])
    (velocity,) = of_one.lanes("velocity", np.zeros(len(s), np.intp), np.array(u), states)
    canonical = place["r"] + place["a"] * along**2
    return pd.DataFrame({"s": s, "flow": velocity @ np.asarray(place["w"]), "canonical": canonical})
