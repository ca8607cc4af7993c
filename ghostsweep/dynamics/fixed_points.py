"""Zeros and ghost points of one-dimensional flows, of one network or every snapshot of a training (paper, Fig. 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import elementwise

from ghostsweep.dynamics.flow import Params, any_flow, flow_of
from ghostsweep.dynamics.programs import Array
from ghostsweep.errors import UsageError

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

SPAN, N_POINTS = (-15.0, 15.0), 1000  # of the paper's test for bifurcations
TOLERANCE = 1e-12  # 1/tau; rounding leaves about 1e-15 at a zero
_BLOCK = 4_000_000  # numbers held at once: 32 MB


@dataclass(frozen=True)
class _Stack:
    """The flows F(kappa) = -kappa + n . tanh(m kappa + b) of S snapshots; m, n, b (S, N)."""

    m: Array
    n: Array
    b: Array

    def flow(self, kappa: Array, at: NDArray[np.intp]) -> Array:
        """F of snapshot at[i] at kappa[i], the shape of kappa."""
        return np.asarray((self.n[at] * self._rates(kappa, at)).sum(axis=-1) - kappa)

    def derivative(self, kappa: Array, at: NDArray[np.intp]) -> Array:
        """F' of snapshot at[i] at kappa[i]."""
        slopes = 1.0 - self._rates(kappa, at) ** 2
        return np.asarray((self.n[at] * self.m[at] * slopes).sum(axis=-1) - 1.0)

    def _rates(self, kappa: Array, at: NDArray[np.intp]) -> Array:
        return np.tanh(self.m[at] * kappa[..., None] + self.b[at])

    def on_grid(self, grid: Array) -> tuple[Array, Array]:
        """F and F' on the grid (G,), each (S, G)."""
        rates = np.tanh(self.m[:, None] * grid[:, None] + self.b[:, None])
        flow = (rates @ self.n[:, :, None])[..., 0] - grid
        weight = self.n * self.m
        rates *= rates
        return flow, weight.sum(axis=1)[:, None] - (rates @ weight[:, :, None])[..., 0] - 1.0


def _points(stack: _Stack, grid: Array, tolerance: float) -> pd.DataFrame:
    """Every zero and ghost point: snapshot, kappa, speed, derivative, kind, stability.

    Extrema of F are sign changes of F' on the grid, refined. F is monotone between neighbours among grid points and
    extrema, so that each change of sign between two of them holds one zero: a pair that both lie in one cell is found
    too. An extremum with |F| <= tolerance is one zero, half-stable, whatever the sign that rounding gives it.
    """
    flow, slope = stack.on_grid(grid)
    rising = slope > 0
    at, cell = np.nonzero(rising[:, 1:] != rising[:, :-1])
    extremum = elementwise.find_root(stack.derivative, (grid[cell], grid[cell + 1]), args=(at,)).x
    height = stack.flow(extremum, at)
    tangent = np.abs(height) <= tolerance
    ghost = ~tangent & ((height > 0) == rising[at, cell + 1])  # a minimum above 0 or a maximum below it

    crossing = (flow[:, 1:] > 0) != (flow[:, :-1] > 0)
    crossing[at, cell] = False  # such a cell is searched on either side of its extremum
    zero_at, zero_cell = np.nonzero(crossing)
    before = ~tangent & ((flow[at, cell] > 0) != (height > 0))
    after = ~tangent & ((flow[at, cell + 1] > 0) != (height > 0))
    low = np.concatenate([grid[zero_cell], grid[cell[before]], extremum[after]])
    high = np.concatenate([grid[zero_cell + 1], extremum[before], grid[cell[after] + 1]])
    zero_at = np.concatenate([zero_at, at[before], at[after]])
    zero = elementwise.find_root(stack.flow, (low, high), args=(zero_at,)).x
    # A tangential zero on a grid point may show there as a change of sign in the neighbouring cell as well.
    for snapshot, kappa in zip(at[tangent], extremum[tangent], strict=True):
        apart = (zero_at != snapshot) | (np.abs(zero - kappa) >= grid[1] - grid[0])
        zero, zero_at = zero[apart], zero_at[apart]

    kept = tangent | ghost
    kappa = np.concatenate([zero, extremum[kept]])
    snapshot = np.concatenate([zero_at, at[kept]])
    derivative = stack.derivative(kappa, snapshot)
    stability = np.concatenate(
        [np.where(derivative[: len(zero)] < 0, "stable", "unstable"), np.where(tangent[kept], "half-stable", "")]
    )
    table = pd.DataFrame(
        {
            "snapshot": snapshot,
            "kappa": kappa,
            "speed": np.abs(stack.flow(kappa, snapshot)),
            "derivative": derivative,
            "kind": np.concatenate([np.full(len(zero), "fixed point"), np.where(ghost[kept], "ghost", "fixed point")]),
            "stability": stability,
        }
    )
    return table.sort_values(["snapshot", "kappa"], ignore_index=True)


def _grid(span: tuple[float, float], n_points: int) -> Array:
    if not span[0] < span[1] or n_points < 2:
        raise UsageError(f"span is {span} and n_points {n_points}: a rising span and at least 2 points are allowed")
    return np.linspace(*span, n_points)


def flow_1d(
    params: "Params | StepFlow", *, u: float = 0.0, span: tuple[float, float] = (-9.0, 9.0), n_points: int = N_POINTS
) -> pd.DataFrame:
    """The flow of a network with one coordinate: kappa and flow = dkappa/dt in 1/tau, n_points rows (paper, Fig. 3)."""
    kappa = _grid(span, n_points)
    return pd.DataFrame({"kappa": kappa, "flow": any_flow(params).velocity(kappa[:, None], u)[:, 0]})


def fixed_points_1d(
    params: Params,
    *,
    u: float = 0.0,
    span: tuple[float, float] = SPAN,
    n_points: int = N_POINTS,
    tolerance: float = TOLERANCE,
) -> pd.DataFrame:
    """Fixed points and ghost points of a network with one coordinate, a row each, ascending in kappa (paper, Fig. 3).

    params: a rank-one network (m, n, b) or any of rank K = 1; u its constant input. Columns: kappa; speed,
    |dkappa/dt| in 1/tau; derivative of the flow in 1/tau; kind; stability. A "fixed point" is a zero of the flow,
    refined to machine precision, "stable" where the derivative is negative, else "unstable"; a zero where the flow
    touches 0 without crossing it, |flow| <= tolerance at an extremum, is "half-stable". A "ghost" is a local minimum
    of |flow| that is no zero; its derivative is 0 and its stability empty.

    Two extrema of the flow within one grid step are not seen. All zeros lie in |kappa| < sum |n|, which may be beyond
    the span. span, n_points and tolerance stand in `.attrs`. Raises UsageError for a network of more coordinates and
    for a span that does not rise.
    """
    flow = flow_of(params)
    if flow.into is None or flow.dimension != 1:
        raise UsageError(f"params: found a network of {flow.dimension} coordinates; allowed: 1, as of rank one")
    bias = flow.bias + flow.drive(u)
    stack = _Stack(flow.back, flow.into.T, bias[None])
    table = _points(stack, _grid(span, n_points), tolerance).drop(columns="snapshot")
    table.attrs = {"span": span, "n_points": n_points, "tolerance": tolerance}
    return table


def count_fixed_points(
    params: Mapping[str, np.ndarray],
    *,
    span: tuple[float, float] = SPAN,
    n_points: int = N_POINTS,
    tolerance: float = TOLERANCE,
) -> NDArray[np.int64]:
    """The number of fixed points, (S,), of a rank-one network at each of S snapshots; params m, n, b (S, N).

    What `fixed_points_1d` counts as one, for all snapshots at once: a change in number is a bifurcation (paper, Fig.
    3). Raises UsageError where m, n, b are missing, of different shapes or not finite.
    """
    points = fixed_points_of_all(params, span=span, n_points=n_points, tolerance=tolerance)
    at = points.loc[points["kind"] == "fixed point", "snapshot"]
    return np.bincount(at, minlength=len(params["m"])).astype(np.int64)


def fixed_points_of_all(
    params: Mapping[str, np.ndarray],
    *,
    span: tuple[float, float] = SPAN,
    n_points: int = N_POINTS,
    tolerance: float = TOLERANCE,
) -> pd.DataFrame:
    """The table of `fixed_points_1d` for each of S snapshots of a rank-one network, with a column snapshot, 0 to S - 1.

    params: m, n, b (S, N). Raises UsageError where they are missing, of different shapes or not finite.
    """
    found = {name: np.shape(params[name]) for name in ("m", "n", "b") if name in params}
    shapes = set(found.values())
    if len(found) < 3 or len(shapes) > 1 or len(*shapes) != 2:
        raise UsageError(f"params: found {found}; allowed: m, n and b, each of shape (snapshots, units)")
    m, n, b = (np.asarray(params[name], np.float64) for name in ("m", "n", "b"))
    if not all(np.isfinite(value).all() for value in (m, n, b)):
        raise UsageError("params: found values that are not finite; a diverged network has no flow")
    grid = _grid(span, n_points)
    block = max(1, _BLOCK // (n_points * m.shape[1]))
    parts = []
    for first in range(0, len(m), block):
        rows = slice(first, first + block)
        points = _points(_Stack(m[rows], n[rows], b[rows]), grid, tolerance)
        parts.append(points.assign(snapshot=points["snapshot"] + first))
    return pd.concat(parts, ignore_index=True)
