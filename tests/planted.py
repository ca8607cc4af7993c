"""Tables with a planted truth, for the tests of the analysis."""

import numpy as np
import pandas as pd
from scipy.stats import norm

# One run of each outcome: status, recent loss, lowest loss and its epoch, recent and mean gradient norm, recent and
# highest accuracy, first epoch learned.
EXAMPLES = {
    "plateau": ("done", 0.9, 0.89, 99, 1.0, 1.0, 0.5, 0.5, None),
    "learned": ("done", 0.05, 0.05, 99, 1.0, 1.0, 1.0, 1.0, 40),
    "oscillating": ("done", 0.4, 0.05, 60, 1.0, 1.0, 0.95, 1.0, 40),
    "fallen_back": ("done", 0.5, 0.05, 40, 1.0, 1.0, 0.5, 1.0, 40),
    "unstable": ("done", 0.7, 0.3, 40, 1.0, 1.0, 0.6, 0.8, None),
    "trapped": ("done", 1.0, 0.05, 40, 0.0, 1.0, 0.5, 1.0, 40),
    "trapped_at_start": ("done", 1.0, 1.0, 0, 0.0, 0.0, 0.5, 0.5, None),
    "diverged": ("diverged", np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, None),
}
LAST_LOSS = {"unstable": 0.8}  # where it is not the mean of the last epochs


def runs_of(kinds: list[str], **fields: object) -> pd.DataFrame:
    """A runs table with one run of each kind in the list, of 100 epochs."""
    columns = [
        "status", "recent_mean_loss", "min_loss", "min_loss_epoch", "recent_mean_grad_norm", "mean_grad_norm",
        "recent_max_accuracy", "max_accuracy", "learned_epoch",
    ]  # fmt: skip
    table = pd.DataFrame([EXAMPLES[kind] for kind in kinds], columns=columns).astype({"learned_epoch": "Int64"})
    table = table.assign(learned_loss=0.1, initial_loss=1.0, initial_grad_norm=table["mean_grad_norm"])
    table["final_loss"] = [LAST_LOSS.get(kind, EXAMPLES[kind][1]) for kind in kinds]
    table["final_accuracy"] = table["recent_max_accuracy"]
    fixed = {"model": "rank_one", "task": "delayed_activation", "timescale": 20.0, "epochs_done": 100}
    return table.assign(**(fixed | fields))


def table_of(kinds: np.ndarray, rates: np.ndarray, **fields: object) -> pd.DataFrame:
    """A runs table from the outcomes' names, (n_seeds, n_rates)."""
    seed, rate = np.indices(kinds.shape)
    return runs_of(kinds.ravel().tolist(), seed=seed.ravel(), learning_rate=rates[rate.ravel()], **fields)


def grid(collapsed: np.ndarray, rates: np.ndarray, **fields: object) -> pd.DataFrame:
    """A runs table from booleans (n_seeds, n_rates): trapped or learned."""
    return table_of(np.where(collapsed, "trapped", "learned"), rates, **fields)


def band_of(lower: np.ndarray, upper: np.ndarray, rates: np.ndarray, **fields: object) -> pd.DataFrame:
    """A runs table of seeds that learn between their own two rates: plateau up to `lower`, trapped above `upper`."""
    kinds = np.where(rates > upper[:, None], "trapped", np.where(rates <= lower[:, None], "plateau", "learned"))
    return table_of(kinds, rates, **fields)


def iterate_canonical(timescales: list[float], etas: np.ndarray, n_seeds: int, epochs: int) -> pd.DataFrame:
    """The canonical form trained by a plain loop in r, from 10 r* +- r*/10; rates differ from T to T."""
    starts = 10 + 0.1 * np.random.default_rng(0).standard_normal(n_seeds)
    shape = (len(timescales), len(etas), n_seeds)
    T, eta, s = (np.broadcast_to(a, shape) for a in np.ix_(np.asarray(timescales), etas, starts))
    jitter = 1 + 0.004 * np.sin(T)  # so that the grids do not sit at the same eta
    lr, best = eta * jitter * np.pi**4 / 8 / T**5, (np.pi / (2 * T)) ** 2
    r, grad_sum, learned_epoch = s * best, np.zeros(shape), np.full(shape, -1)
    recent_loss, recent_grad, first_grad = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    first_loss, min_loss, min_epoch, recent_min = np.zeros(shape), *np.full((3, *shape), np.inf)
    for epoch in range(epochs):
        alive = r >= best / 4
        root = np.sqrt(np.where(alive, r, 1.0))
        loss = np.where(alive, np.abs(T - np.pi / (2 * root)) / T, 1.0)
        gradient = np.where(alive, np.where(r > best, 1, -1) * np.pi / (4 * root**3), 0.0)
        learned_epoch[(learned_epoch < 0) & (loss < 0.1)] = epoch
        grad_sum += np.abs(gradient)
        first_grad = np.abs(gradient) if epoch == 0 else first_grad
        first_loss = loss if epoch == 0 else first_loss
        min_epoch = np.where(loss < min_loss, epoch, min_epoch)
        min_loss = np.minimum(min_loss, loss)
        if epoch >= epochs - 50:
            recent_min = np.minimum(recent_min, loss)
            recent_loss += loss / 50
            recent_grad += np.abs(gradient) / 50
        r = r - lr * gradient
    columns = {
        "timescale": T, "learning_rate": lr, "seed": np.broadcast_to(np.arange(n_seeds), shape),
        "recent_mean_loss": recent_loss, "recent_mean_grad_norm": recent_grad, "initial_loss": first_loss,
        "min_loss": min_loss, "min_loss_epoch": min_epoch, "final_loss": loss, "final_accuracy": 1 - loss / 2,
        "max_accuracy": 1 - min_loss / 2, "recent_max_accuracy": 1 - recent_min / 2,
        "mean_grad_norm": grad_sum / epochs, "initial_grad_norm": first_grad, "learned_epoch": learned_epoch,
    }  # fmt: skip
    table = pd.DataFrame({name: values.ravel() for name, values in columns.items()})
    table["learned_epoch"] = table["learned_epoch"].astype("Int64").replace(-1, pd.NA)
    fixed = {"model": "canonical", "task": "delayed_activation", "status": "done", "learned_loss": 0.1}
    return table.assign(**fixed, epochs=epochs, epochs_done=epochs, confidence=np.nan)


def critical_table(x: np.ndarray, log_y: np.ndarray, sigma: float | np.ndarray, **fields: object) -> pd.DataFrame:
    """A table of upper boundaries at timescales x whose stated intervals have the standard deviation sigma of log y."""
    y, margin = np.exp(log_y), np.exp(norm.ppf(0.975) * sigma)
    table = pd.DataFrame({"model": "rank_one", "timescale": x, "boundary": "upper", "share": 0.5, "lr_critical": y})
    return table.assign(ci_low=y / margin, ci_high=y * margin, censored="", level=0.95, **fields)


def noisy(runs: pd.DataFrame, noise: float, epochs: int = 400, seed: int = 0) -> pd.DataFrame:
    """Planted runs (plateau, learned, trapped) where noise multiplies the loss and the gradient of each epoch.

    By gamma-distributed numbers of mean 1 and standard deviation `noise`. What learns falls from 1 to its lowest loss
    in two fifths of the epochs; what is trapped is so after three.
    """
    time, rng = np.arange(epochs) / epochs, np.random.default_rng(seed)
    first, lowest, last = (runs[name].to_numpy()[:, None] for name in ("initial_loss", "min_loss", "recent_mean_loss"))
    known = np.where(time < 0.6, first + (lowest - first) * np.minimum(time / 0.4, 1), last)
    factor = rng.gamma(noise**-2, noise**2, known.shape)
    loss, right = known * factor, np.clip(1 - known * factor / 2, 0, 1)
    live = np.where(time < 0.6, 1, np.where(last < 1, 1, 0))
    grad_norm = live * rng.gamma(noise**-2, noise**2, known.shape)
    return runs.assign(
        initial_loss=loss[:, 0], final_loss=loss[:, -1], min_loss=loss.min(axis=1), min_loss_epoch=loss.argmin(axis=1),
        recent_mean_loss=loss[:, -50:].mean(axis=1), epochs_done=epochs,
        min_recent_mean_loss=loss.reshape(len(runs), -1, 50).mean(axis=2).min(axis=1),
        initial_grad_norm=grad_norm[:, 0], mean_grad_norm=grad_norm.mean(axis=1),
        recent_mean_grad_norm=grad_norm[:, -50:].mean(axis=1),
        final_accuracy=right[:, -1], max_accuracy=right.max(axis=1), recent_max_accuracy=right[:, -50:].max(axis=1),
    )  # fmt: skip
