"""The claims of the paper, tested both ways: they hold where the truth was planted, and fail where it was not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cue_networks import ghost_bias
from drawn import canonical
from planted import band_of, grid, runs_of

from ghostsweep import theory
from ghostsweep.errors import UsageError
from ghostsweep.paper import claims
from ghostsweep.spec import Run

RATES = np.geomspace(1e-4, 1e1, 21)


def tables(runs: pd.DataFrame, curves: pd.DataFrame | None = None, snapshots: dict | None = None) -> SimpleNamespace:
    def kept(run_id: str) -> dict[str, np.ndarray]:
        if run_id not in (snapshots or {}):
            raise UsageError(f"{run_id}: no snapshots")
        return snapshots[run_id]  # type: ignore[index,no-any-return]

    return SimpleNamespace(runs=runs, curves=curves, snapshots=kept)


def verdicts(found: list[claims.Claim], kind: str = "claim") -> list[bool]:
    assert all(np.isfinite(claim.value) and claim.measured for claim in found)
    for claim in found:
        assert not claim.low > claim.high and not claim.p_value > 1
    return [bool(claim.holds) for claim in found if claim.kind == kind]


def test_a_ghost_has_no_fixed_point() -> None:
    (claim,) = claims.fig1()
    assert claim.holds and claim.kind == "check" and claim.value == pytest.approx(1 / 3)


def test_the_canonical_form_supports_all_claims_and_another_one_does_not() -> None:
    etas = np.geomspace(0.06, 5, 60)
    two = canonical([100], np.array([0.08, 0.82]), 1, 3_000)
    one, many = canonical([100], etas, 4, 3_000), canonical([10, 20, 40, 80], etas, 4, 3_000)
    found = claims.fig2(two, one, many)
    assert verdicts(found) == [True] * 3 and verdicts(found, "check") == [True] * 2
    # The same tables with the rates of another law: T^-4 instead of T^-5.
    many.runs["learning_rate"] *= many.runs["timescale"] / 20
    one.runs["learning_rate"] *= 2
    two.runs["learning_rate"] = two.runs["learning_rate"].to_numpy()[::-1]
    one.runs["recent_mean_loss"] = np.where(one.runs["recent_mean_loss"] < 0.1, 0.05, one.runs["recent_mean_loss"])
    one.runs["recent_mean_loss"] -= 1e-3 * one.runs["learning_rate"] / one.runs["learning_rate"].max()
    found = claims.fig2(two, one, many)
    assert verdicts(found) == [False] * 3 and verdicts(found, "check") == [False] * 2


def _ranks(edges: dict[int, float], low: float = 1e-3) -> SimpleNamespace:
    """Bands from `low` to the edge of each rank; where low is negative, from as far below -low as the edge is above."""
    parts = []
    for k, edge in edges.items():
        upper = edge * np.geomspace(0.8, 1.2, 6)
        lower = np.full(6, low) if low > 0 else -low * upper
        parts.append(band_of(lower, upper, RATES, rank=k, epochs=10_000))
    return tables(pd.concat(parts))


def _timescales(exponent: float) -> SimpleNamespace:
    spread = np.geomspace(0.9, 1.1, 8)
    rates = np.geomspace(1e-5, 1e1, 121)
    parts = [
        grid(rates > (t**exponent * spread)[:, None], rates, timescale=float(t)) for t in (5, 7, 10, 14, 20, 28, 40)
    ]
    return tables(pd.concat(parts))


def _two(full: tuple[float, float], one: tuple[float, float], confidence: tuple[float, float] = (1.0, 1.0)) -> object:
    parts = [
        band_of(np.full(6, low), np.full(6, high), RATES, model=model, confidence=c, epochs=10_000)
        for model, (low, high), c in (("full_rank", full, confidence[0]), ("rank_one", one, confidence[1]))
    ]
    return tables(pd.concat(parts))


def test_networks_with_a_critical_rate_and_with_a_rank_that_helps() -> None:
    narrow = tables(band_of(np.full(6, 1e-3), np.full(6, 2e-2), RATES))
    flat = tables(runs_of(["learned"] * 21, learning_rate=RATES, seed=0))
    up, down = {1: 0.01, 3: 0.05, 10: 0.3}, {1: 0.3, 3: 0.05, 10: 0.01}
    found = claims.fig6(narrow, flat, _ranks(up), _timescales(-2), _two((2e-4, 1.0), (1e-3, 2e-2)), _ranks(up))
    assert verdicts(found) == [True] * 6
    assert "decades" in found[3].measured and "K = 10" in found[4].measured and found[5].p_value < 0.01
    found = claims.fig6(flat, flat, _ranks(down), _timescales(0.5), _two((1e-3, 2e-2), (2e-4, 1.0)), _ranks(down))
    assert verdicts(found) == [False, False, True, False, False, False]  # a law that rises is one too


def test_a_critical_rate_that_falls_ever_faster_is_no_power_law() -> None:
    narrow, up = tables(band_of(np.full(6, 1e-3), np.full(6, 2e-2), RATES)), {1: 0.01, 3: 0.05, 10: 0.3}
    rates, times = np.geomspace(1e-5, 1e1, 121), (5.0, 7.0, 10.0, 14.0, 20.0, 28.0)
    falls = {t: 0.3 * (t / 5) ** (-1 - 0.6 * np.log(t / 5)) * np.geomspace(0.9, 1.1, 8) for t in times}
    bent = tables(pd.concat(grid(rates > fall[:, None], rates, timescale=t) for t, fall in falls.items()))
    found = claims.fig6(narrow, narrow, _ranks(up), bent, _two((2e-4, 1.0), (1e-3, 2e-2)), _ranks(up))
    assert verdicts(found)[1:3] == [True, False] and found[2].p_value < 0.05


def test_a_band_that_moves_or_is_open_or_confounded_has_not_widened() -> None:
    narrow, up = tables(band_of(np.full(6, 1e-3), np.full(6, 2e-2), RATES)), {1: 0.01, 3: 0.05, 10: 0.3}

    def last(band: SimpleNamespace, two: object) -> list[bool]:
        return verdicts(claims.fig6(narrow, narrow, _ranks(up), _timescales(-2), two, band))[3:]  # type: ignore[arg-type]

    wide = _two((2e-4, 1.0), (1e-3, 2e-2))
    assert last(_ranks(up, low=-0.05), wide) == [True, True, False]  # both ends rise alike
    assert last(_ranks(up, low=1e-9), wide) == [True, True, False]  # it begins below the grid
    # Ranks whose initial gain differs are not compared: there are two alike, too few for a trend.
    assert last(_ranks({1: 0.01, 3: 0.05, 50: 0.3, 90: 1.0}), wide) == [True, True, False]
    assert last(_ranks(up), _two((2e-4, 1.0), (1e-3, 2e-2), (1.0, 10.0))) == [False, True, True]
    assert last(_ranks(up), _two((1e-3, 2.5e-2), (1e-3, 2e-2))) == [False, True, True]  # within their intervals


def test_cue_tasks_with_and_without_a_collapse() -> None:
    collapse = tables(band_of(np.full(6, 1e-3), np.full(6, 0.5), RATES))
    found = claims.fig7(collapse, collapse, collapse)
    assert verdicts(found) == [True, True] and verdicts(found, "check") == [True, True]
    learns = tables(runs_of(["learned"] * 21, learning_rate=RATES, seed=0))
    found = claims.fig7(collapse, learns)
    assert verdicts(found) == [True, False] and verdicts(found, "check") == [True, False]


UNIT = {"timescale": 20, "dt_ms": 5.0, "tau_ms": 10.0}
EPOCHS, START = np.arange(3000), 2500


def _dynamics(gain: np.ndarray, bias: np.ndarray, ghost: np.ndarray, keep: np.ndarray) -> dict[str, np.ndarray]:
    """A unit with feedback, kappa = n r; and one without, that puts kappa(0) before a ghost of the first."""
    still = np.where(ghost, 2.867, 0.0)
    arrays = {
        "m": np.stack([np.ones_like(gain), np.zeros_like(gain)], axis=1),
        "n": np.stack([gain, still], axis=1),
        "b": np.stack([bias, np.zeros_like(gain)], axis=1),
    }
    return {"epochs": EPOCHS[keep]} | {name: values[keep] for name, values in arrays.items()}


def _fall(
    run_id: str,
    outcome: str = "learned",
    *,
    epochs: int = 30,
    bifurcates: int | None = None,
    early_ghost: bool = False,
    late_ghost: bool = True,
    moves: bool = True,
    dense: bool = True,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, np.ndarray]]:
    """A network whose loss falls from `START` on, within `epochs`, with what is planted at its snapshots."""
    loss = np.interp(EPOCHS, [0, START, START + epochs, 3000], [1.0, 1.0, 0.05, 0.04])
    # The one fixed point of a gain of 0.5 lies at twice the bias or so: it moves over 1 as the loss falls.
    rising = np.interp(EPOCHS, [0, START, START + epochs], [0.1, 0.6, 6.0]) if moves else np.full(3000, 0.1)
    gain, bias = np.full(3000, 0.5), rising
    gain = np.where(moves & (START + epochs // 3 <= EPOCHS), 3.0, gain)
    ghost = np.zeros(3000, bool)
    for place, there in ((slice(100, 2520), early_ghost), (slice(2900, 3000), late_ghost)):
        if there:
            gain[place], bias[place], ghost[place] = 1.8, ghost_bias(1.8), True
    if bifurcates is not None:
        gain[bifurcates:], bias[bifurcates:], ghost[bifurcates:] = 3.0, 0.0, False
    keep = (EPOCHS % 20 == 0) | (dense & (EPOCHS >= START) & (START + epochs > EPOCHS))
    learned = int(EPOCHS[loss < 0.1][0])
    run = runs_of([outcome], run_id=run_id, learning_rate=0.01, seed=seed, initial_loss=1.0, **UNIT)
    run["learned_epoch"] = pd.array([learned], dtype="Int64")
    curve = pd.DataFrame({"run_id": run_id, "epoch": EPOCHS, "loss": loss})
    return run, curve if dense else curve[EPOCHS % 100 == 0], _dynamics(gain, bias, ghost, keep)


def _networks(count: int, outcome: str = "learned", **planted: object) -> tuple[SimpleNamespace, SimpleNamespace]:
    """One network, and more of other seeds."""
    every = [_fall(f"{i}", outcome, seed=i, **planted) for i in range(count)]  # type: ignore[arg-type]
    parts = []
    for some in (every[:1], every[1:]):
        runs, curves, snapshots = zip(*some, strict=True)
        by_id = dict(zip([run["run_id"].iloc[0] for run in runs], snapshots, strict=True))
        parts.append(tables(pd.concat(runs, ignore_index=True), pd.concat(curves), by_id))
    return parts[0], parts[1]


def _fig3(low: tuple[SimpleNamespace, SimpleNamespace], high: tuple[SimpleNamespace, SimpleNamespace]) -> list[bool]:
    return verdicts(claims.fig3(low[0], high[0], low[1], high[1]))


def test_falls_without_and_with_what_the_claims_deny() -> None:
    plain = _networks(6)
    # abrupt, no bifurcation, ghost before, the fixed point moves, ghost in the end; of both rates; and what is kept.
    as_found = [True, True, False, True, True]
    assert _fig3(plain, _networks(6, "trapped")) == [*as_found, *as_found, True]
    other = _networks(6, epochs=400)
    assert _fig3(plain, other)[5:] == [False, True, False, True, True, False]  # a slow fall; nothing is lost
    assert _fig3(plain, _networks(6, bifurcates=2400))[5:10] == [True, False, False, False, False]
    assert _fig3(plain, _networks(6, bifurcates=2505))[5:7] == [True, False]  # inside the drop alone
    assert _fig3(plain, _networks(6, early_ghost=True))[5:8] == [True, True, True]
    assert _fig3(plain, _networks(6, moves=False, late_ghost=False))[5:10] == [True, True, False, False, False]
    # Where nothing was kept inside the drop, nothing was tested there.
    assert _fig3(plain, _networks(6, dense=False))[5:9] == [False, False, False, False]


def test_a_share_of_networks_has_its_exact_interval() -> None:
    low, high = _networks(6), _networks(6, "trapped")
    found = claims.fig3(low[0], high[0], low[1], high[1])
    assert found[0].n_seeds == 6 and (found[0].low, found[0].high) == pytest.approx((0.5407, 1.0), abs=1e-4)
    assert "0 of 6 networks" in found[2].measured and found[-1].p_value == pytest.approx(2 / 2**6)


def _cue(model: str, ghost: bool, trials: tuple[int, ...] = (1, 1, 1), changed: bool = False) -> SimpleNamespace:
    """Three networks of one kind; in the last snapshot the cue + throws a unit beyond a ghost, which it passes."""
    rank = {"rank": 2} if model == "low_rank" else {}
    runs, snapshots = [], {}
    for seed, number in enumerate(trials):
        run = Run(
            model=model, task="dcdt", input_ms=20.0, delay_ms=200.0, reaction_ms=20.0, learning_rate=0.1, epochs=101,
            trials_per_class=number, seed=seed if number == 1 else 0, **rank,
        )  # fmt: skip
        there = ghost and not (changed and seed == 1)
        bias = np.array([[0.0, 0.1], [0.0, -ghost_bias(1.8) if there else -2.0]])
        back = np.stack([np.diag([0.5, 1.8])] * 2)
        params = {"s_l": np.stack([np.eye(2)] * 2), "s_r": back} if rank else {"w_rec": back}
        rest = {"w_in": np.array([0.2, 3.0]), "w_out": np.array([1.0, 0.5]), "b_out": np.array([0.1])}
        arrays = params | {name: np.stack([value] * 2) for name, value in rest.items()} | {"b_in": bias}
        snapshots[f"{seed}"] = {"epochs": np.array([0, 100])} | arrays
        # Fields that a run of the planted outcome and this one both have are this one's.
        own = {"run_id": f"{seed}", **run.fields}
        runs.append(runs_of(["learned"]).assign(**own, max_accuracy=1.0, recent_mean_loss=0.01, final_loss=0.01))
    return tables(pd.concat(runs, ignore_index=True), snapshots=snapshots)


@pytest.mark.parametrize(("claim", "model"), [(claims.fig4, "low_rank"), (claims.fig5, "full_rank")])
def test_ghosts_that_are_passed_and_none(claim: object, model: str) -> None:
    there, none = _cue(model, True), _cue(model, False)
    assert verdicts(claim(there, none)) == [True, True, True, False]  # type: ignore[operator]
    # A ghost that no trajectory comes by counts for nothing: the same networks without their cue.
    for arrays in (there.snapshots(f"{seed}") for seed in range(3)):
        arrays["w_in"][:] = 0.0
    assert verdicts(claim(there, none)) == [True, False, True, False]  # type: ignore[operator]
    stuck = _cue(model, True)
    stuck.runs[["recent_mean_loss", "final_loss"]] = 0.9
    assert verdicts(claim(stuck, none)) == [False, False, True, False]  # type: ignore[operator]


def test_fewer_trials_that_change_nothing_and_some_that_do() -> None:
    same, other = _cue("low_rank", True, (50, 5)), _cue("low_rank", True, (50, 5), changed=True)
    found = claims.fig4(same, other)
    assert verdicts(found, "check") == [True, False]
    assert [claim.n_seeds for claim in found if claim.kind == "claim"] == [1] * 4


def _phases(good: dict[float, list[str]], field: str = "confidence") -> pd.DataFrame:
    """12 networks, 8 of them trapped; of each value of the field the outcomes that its continuations take in turn."""
    rows = []
    for i in range(12):
        first = runs_of(["trapped"], run_id=f"{i}", seed=i, phase=1, confidence=10.0, readout_l1=np.nan)
        first = first.assign(max_accuracy=0.9, recent_max_accuracy=0.4 if i < 8 else 0.9, final_accuracy=0.4)
        rows.append(first.assign(parent=None, begins_from=None))
        for value, kinds in good.items():
            kind = kinds[i % len(kinds)]
            then = runs_of([kind], run_id=f"{i}-{value}", seed=i, phase=2, confidence=10.0, readout_l1=np.nan)
            then = then.assign(**{field: value}, parent=f"{i}", begins_from=f"end {i}", max_accuracy=1.0)
            rows.append(then.assign(final_accuracy=0.95 if kind == "learned" else 0.4, recent_max_accuracy=1.0))
    steps = {"input_ms": 10.0, "delay_ms": 50.0, "reaction_ms": 50.0}
    return pd.concat(rows, ignore_index=True).assign(**steps)


def _fig8(good: str, control: str) -> list[claims.Claim]:
    """All interventions with one outcome, and all controls with another."""
    treated, same = [good], [control]
    confidence = tables(_phases({1.0: treated, 10.0: same}))
    readout = tables(_phases({0.5: treated, np.nan: same}, "readout_l1"))
    return claims.fig8(confidence, tables(_phases({1.0: treated})), readout, confidence, tables(_phases({10.0: same})))


def test_interventions_that_help_and_that_do_not() -> None:
    found = _fig8("learned", "trapped")
    assert verdicts(found) == [True] * 4 and verdicts(found, "check") == [True]
    assert "8 of 12 trapped" in found[1].measured and found[1].p_value == pytest.approx(2 / 2**8)
    # max_accuracy is 1 in all of them: that they were right for a while is no recovery.
    assert verdicts(_fig8("trapped", "trapped")) == [False] * 4
    # As good as those that go on unchanged is no effect, and worse is none either.
    assert verdicts(_fig8("learned", "learned")) == [False] * 4
    assert verdicts(_fig8("trapped", "learned")) == [False] * 4


def test_recovery_of_a_few_is_none() -> None:
    few = tables(_phases({1.0: ["learned", "trapped", "trapped"], 10.0: ["trapped"]}))
    readout = tables(_phases({0.5: ["learned"] + 5 * ["trapped"], np.nan: ["trapped"]}, "readout_l1"))
    reset = tables(_phases({1.0: ["learned", "trapped", "trapped"]}))
    found = claims.fig8(few, reset, readout, few, tables(_phases({10.0: ["trapped"]})))
    assert verdicts(found) == [False] * 4
    assert found[1].value == pytest.approx(3 / 8) and found[1].p_value == pytest.approx(0.25)


def test_what_lower_confidence_does_to_the_gradient_is_exact() -> None:
    """Compared with a difference of the simulated loss."""
    r, step = 0.1 * theory.optimum(100.0), 1e-9
    near = theory.simulated_loss(np.array([r - step, r + step]), 100.0, 0.1)
    assert theory.simulated_gradient(r, 100.0, 0.1) == pytest.approx((near[1] - near[0]) / (2 * step), rel=1e-4)
