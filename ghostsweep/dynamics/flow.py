"""The autonomous flow of a stored network in its own coordinates, and what its output says there.

Time is in units of the time constant tau throughout, so speeds and eigenvalues are in 1/tau. All networks of the paper
(section 2) are r <- (1 - a) r + a tanh(recurrent + u w_in + b) with a leak a, the Euler steps, a of them long, of
dr/dt = -r + tanh(recurrent + u w_in + b). Where the recurrent term is (r L) R, with L (N, D) and R (D, N), the
coordinates kappa = r L obey, exactly and for any D,

    dkappa/dt = -kappa + tanh(kappa R + u w_in + b) L,

since multiplying the step by L from the right leaves kappa alone on both sides. For full rank, kappa is r.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linprog
from scipy.special import expit

from ghostsweep.dynamics.programs import TAU, Array, Networks, closed_form
from ghostsweep.errors import UsageError
from ghostsweep.models.rank_one import THRESHOLD as THRESHOLD
from ghostsweep.tasks.cues import CUT

if TYPE_CHECKING:
    from ghostsweep.dynamics.steps import StepFlow

Params = Mapping[str, np.ndarray]

DCDT_CUT, BINARY_CUT = CUT["dcdt"], CUT["dmts"]  # where the output is cut into answers


@dataclass(frozen=True)
class Flow:
    """dy/dt = -y + tanh(y back + u w_in + bias) into, in 1/tau, of D coordinates y driven by N units.

    back (D, N); into (N, D), or None for the identity of full rank; bias (N,); w_in (N,), or None without input.
    Every y below has shape (..., D), and the input u broadcasts against its leading axes. Raises UsageError for
    an input to a network that has none.
    """

    back: Array
    into: Array | None
    bias: Array
    w_in: Array | None

    @property
    def n_units(self) -> int:
        """N, the number of units."""
        return len(self.bias)

    @property
    def dimension(self) -> int:
        """D, the number of coordinates."""
        return len(self.back)

    def drive(self, u: ArrayLike) -> Array:
        """What the units get from a constant input u (...) beside the bias, u w_in, (..., N)."""
        if self.w_in is not None:
            return np.asarray(u, np.float64)[..., None] * self.w_in
        if np.any(u):
            raise UsageError("u: found an input that is not 0; this network has no w_in, so only 0 is allowed")
        return np.zeros_like(self.bias)

    def start(self, x_start: float = 0.0) -> Array:
        """The state of the units before the first step, (N,)."""
        return np.full(self.n_units, x_start)

    def reachable(self, point: Array) -> bool:
        """Whether rates in [-1, 1], all that tanh gives, can make the coordinates of a point (D,)."""
        if self.into is None:
            return bool(np.abs(point).max() <= 1.0)
        if self.dimension == 1:
            return bool(abs(point[0]) <= np.abs(self.into).sum())
        zero = np.zeros(self.n_units)
        return bool(linprog(zero, A_eq=self.into.T, b_eq=point, bounds=(-1.0, 1.0)).status == 0)

    def _rates(self, y: Array, u: ArrayLike) -> Array:
        return np.tanh(y @ self.back + self.bias + self.drive(u))

    def coordinates(self, x: ArrayLike) -> Array:
        """The coordinates (..., D) of states (..., N) of the units."""
        x = np.asarray(x, np.float64)
        return x if self.into is None else x @ self.into

    def velocity(self, y: Array, u: ArrayLike = 0.0) -> Array:
        """dy/dt, (..., D)."""
        return self.coordinates(self._rates(y, u)) - y

    def jacobian(self, y: Array, u: ArrayLike = 0.0) -> Array:
        """J[..., j, k] = d(dy_j/dt) / dy_k, (..., D, D)."""
        slopes = 1.0 - self._rates(y, u) ** 2
        if self.into is None:
            return slopes[..., :, None] * self.back.T - np.eye(self.dimension)
        return (self.into.T * slopes[..., None, :]) @ self.back.T - np.eye(self.dimension)

    def networks(self) -> Networks:
        """The one network, for `programs`."""
        held = {"back": self.back, "bias": self.bias, "into": self.into, "w_in": self.w_in}
        params = {name: value[None] for name, value in held.items() if value is not None}
        return Networks(
            closed_form, params, {TAU: np.ones(1)}, self.dimension, int(self.w_in is not None), self.n_units
        )


def any_flow(params: "Params | StepFlow") -> "Flow | StepFlow":
    """A flow as it is, and that of parameters as `flow_of` tells it."""
    return flow_of(params) if isinstance(params, Mapping) else params


def flow_of(params: Params) -> Flow:
    """The flow of a stored network of tanh units, its kind told from the names of its parameters.

    params: as `ghostsweep.train_one` returns them. m (N,), n (N,), b: kappa = n . x. m (N, K), n (K, N), b:
    kappa = x m. s_l, s_r, w_in, b_in: kappa = r s_l. w, b and w_rec, w_in, b_in: the state itself.
    Raises UsageError for other names, for shapes that do not fit and for values that are not finite.
    """
    arrays = {name: np.asarray(value, np.float64) for name, value in params.items()}
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise UsageError(f"params[{name!r}]: found values that are not finite; a diverged network has no flow")
    names = set(arrays)
    into: Array | None = None
    if {"s_l", "s_r", "w_in", "b_in"} <= names:
        into, back, bias = arrays["s_l"], arrays["s_r"], arrays["b_in"]
    elif {"w_rec", "w_in", "b_in"} <= names:
        back, bias = arrays["w_rec"], arrays["b_in"]
    elif {"m", "n", "b"} <= names:
        m, n, bias = arrays["m"], arrays["n"], arrays["b"]
        into, back = (n[:, None], m[None]) if m.ndim == n.ndim == 1 else (m, n)
    elif {"w", "b"} <= names:
        back, bias = arrays["w"], arrays["b"]
    else:
        raise UsageError(
            f"params: found {', '.join(sorted(names))}; allowed: those of rank_one (m, n, b), low_rank (m, n, b or "
            "s_l, s_r, w_in, b_in) and full_rank (w, b or w_rec, w_in, b_in); of other models step_flow(run, params)"
        )
    w_in = arrays["w_in"] if "w_in" in names and "b_in" in names else None
    units = bias.shape
    fits = back.ndim == 2 and back.shape[1:] == units and (w_in is None or w_in.shape == units)
    if not fits or back.shape[::-1] != (back.shape if into is None else into.shape):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
        raise UsageError(f"params: found the shapes {shapes}, which do not fit together")
    return Flow(back, into, bias, w_in)


def singular_basis(params: Params) -> dict[str, np.ndarray]:
    """The same rank-K cue network in coordinates that do not depend on how its weights are split in two.

    s_l B and B^-1 s_r give the same weights s_l s_r for every invertible B (K, K), but kappa = r s_l then is kappa B.
    The singular value decomposition s_l s_r = U S V^T of the N x N weights fixes the choice (paper, Fig. 4): here
    kappa' = r U, the state projected on the orthonormal left singular vectors, the larger singular value first.
    With A = pinv(s_l) U this is kappa' = kappa A. Returned are the parameters s_l = U, s_r = S V^T,
    w_out = A^-1 w_out and the others as they were, so that flow, trajectories and output follow as before.
    Each vector's sign is free; it is taken so that w_out >= 0, and the output grows along both axes.
    Raises UsageError for parameters other than s_l, s_r, w_in, b_in, w_out, b_out.
    """
    if "s_l" not in params or "w_out" not in params:
        raise UsageError(f"params: found {', '.join(sorted(params))}; allowed: a low_rank network of a cue task")
    flow = flow_of(params)
    assert flow.into is not None
    q, r = np.linalg.qr(flow.into)  # so that the N x N product is never formed
    left, singular, right = np.linalg.svd(r @ flow.back, full_matrices=False)
    w_out = left.T @ r @ np.asarray(params["w_out"], np.float64)
    sign = np.where(w_out < 0, -1.0, 1.0)
    basis = {"s_l": q @ left * sign, "s_r": (sign * singular)[:, None] * right, "w_out": w_out * sign}
    return {name: basis.get(name, np.asarray(value, np.float64)) for name, value in params.items()}


def output(params: Params, y: ArrayLike, *, task: str, confidence: float = 1.0) -> Array:
    """The network's output (...) at coordinates y (..., D) (paper, section 2).

    tanh (dcdt) or sigmoid (dmts, delayed_activation) of c (y . w_out + b_out); of c (kappa - 1) for rank one. c is
    `confidence`; of a network trained with readout_l1, w_out and b_out are to be given as scaled. A rank-K network on
    delayed activation is read from its units, not from kappa. Raises UsageError for it and for an unknown task.
    """
    y = np.asarray(y, np.float64)
    _require_task(task)
    if "w_out" not in params:
        read = y[..., 0] - THRESHOLD
    elif len(params["w_out"]) == y.shape[-1]:
        read = y @ np.asarray(params["w_out"], np.float64) + float(params["b_out"][0])
    else:
        raise UsageError(
            f"y: found {y.shape[-1]} coordinates; the output is read from {len(params['w_out'])} numbers, so it is no "
            "function of them"
        )
    return np.asarray(np.tanh(confidence * read) if task == "dcdt" else expit(confidence * read))


def decision(output: ArrayLike, task: str) -> NDArray[np.int64]:
    """The answer that an output is read as: dcdt cut at +-0.33 into -1, 0, 1, the others at 0.5 into 0, 1."""
    _require_task(task)
    output = np.asarray(output, np.float64)
    if task == "dcdt":
        return np.where(np.abs(output) > DCDT_CUT, np.sign(output), 0.0).astype(np.int64)
    return (output >= BINARY_CUT).astype(np.int64)


def _require_task(task: str) -> None:
    if task not in ("dcdt", "dmts", "delayed_activation"):
        raise UsageError(f"task: found {task!r}; allowed: 'dcdt', 'dmts', 'delayed_activation'")
