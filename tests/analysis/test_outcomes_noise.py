"""Outcomes under noise, of losses below zero, and where numbers are missing in some epochs."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from planted import noisy, runs_of

import ghostsweep
from ghostsweep import analysis
from ghostsweep.analysis import Criteria, outcomes


def one(kind: str, **changed: object) -> str:
    """The outcome of a planted run of this kind, some of its numbers changed."""
    found: str = outcomes(runs_of([kind]).assign(**changed))["outcome"].iloc[0]
    return found


LUCKY = {"min_loss": 0.05, "learned_epoch": 40, "min_loss_epoch": 40, "recent_mean_loss": 1.3, "final_loss": 1.1}
HARDLY = {"learning_rate": 1e-8, "final_weight_norm": 5.0, "optimizer": "sgd"}


@pytest.mark.parametrize("lowest", [0.3, 0.05])
def test_parameters_that_hardly_move_are_on_the_plateau_whatever_single_epochs_say(lowest: float) -> None:
    noisy = LUCKY | {"min_loss": lowest}
    assert one("plateau", **noisy) in ("oscillating", "unstable", "fallen_back")
    assert one("plateau", **noisy, **HARDLY) == "plateau"
    assert one("plateau", **noisy, **(HARDLY | {"learning_rate": 1.0})) == one("plateau", **noisy)
    assert one("plateau", **noisy, **(HARDLY | {"optimizer": "adam"})) == one("plateau", **noisy)
    assert one("plateau", **noisy, **HARDLY, momentum=1 - 1e-7) == one("plateau", **noisy)
    assert one("plateau", **noisy, **(HARDLY | {"optimizer": "adam"}), n_units=100) == "plateau"
    assert one("plateau", **noisy, **(HARDLY | {"optimizer": "adam"}), n_units=1e6) == one("plateau", **noisy)
    assert one("plateau", **noisy, **HARDLY, phase=2) == "plateau"
    assert one("plateau", **noisy, **HARDLY, weight_decay=1e-3) == "plateau"
    assert one("plateau", **noisy, **HARDLY, weight_decay=1e5) == one("plateau", **noisy)
    assert one("trapped", **HARDLY) == "trapped"  # without a gradient by now: what is not in its norm has moved
    strict = outcomes(runs_of(["plateau"]).assign(**noisy, **HARDLY), Criteria(moved_ratio=0.0))
    assert strict["outcome"].iloc[0] == one("plateau", **noisy)


@pytest.mark.parametrize(
    ("noise", "given"),
    [
        (0.1, {}),
        (1.0, {}),
        (0.5, {"optimizer": "adam"}),
        (0.5, {"task": "dcdt_onehot", "trials_per_class": 4, "momentum": 0.9, "weight_decay": 1e-7}),
    ],
)
def test_noise_of_trials_is_no_collapse(noise: float, given: dict[str, object], tmp_path: Path) -> None:
    axes = {"learning_rate": [1e-12, 1e-10, 1e-9], "seed": range(4)}
    fields = {"model": "full_rank", "task": "dcdt", "n_units": 10, "input_ms": 20, "delay_ms": 40, "reaction_ms": 20}
    fields |= {"noise_sigma": noise, "r0_sigma": noise, "epochs": 300}
    sweep = ghostsweep.sweep("noise", axes=axes, **fields | given)
    found = ghostsweep.run(sweep, out=tmp_path, progress=False)
    assert found.outcomes()["outcome"].unique().tolist() == ["plateau"]
    assert "below" not in found.critical_lr()["censored"].tolist()


@pytest.mark.parametrize("noise", [0.1, 0.3, 1.0])
def test_runs_that_move_are_judged_by_means_under_noise(noise: float) -> None:
    kinds = ["plateau", "learned", "trapped"] * 100
    found = outcomes(noisy(runs_of(kinds), noise))["outcome"].tolist()
    assert sum(a != b for a, b in zip(found, kinds, strict=True)) <= 1
    lucky = noisy(runs_of(["trapped"]), 0.1).assign(min_recent_mean_loss=0.99, min_loss=0.05)
    assert outcomes(lucky.assign(recent_mean_grad_norm=1.0))["outcome"].tolist() == ["plateau"]  # it had never learned


def test_noisy_losses_that_rise_from_the_first_epoch_on_are_unstable() -> None:
    """No mean of theirs is low; a loss of 0.35 is that of the first epoch alone."""
    risen = {"initial_loss": 0.35, "min_loss": 0.34, "recent_mean_loss": 1.2, "final_loss": 1.1}
    runs = runs_of(["plateau"]).assign(**risen, min_recent_mean_loss=1.1)
    assert outcomes(runs.assign(min_loss_epoch=3))["outcome"].tolist() == ["unstable"]
    assert outcomes(runs.assign(min_loss_epoch=99))["outcome"].tolist() == ["plateau"]  # a lucky one of many


SHIFT = {"model": "own@1", "task": None, "timescale": np.nan}


@pytest.mark.parametrize("kind", ["learned", "plateau", "unstable", "fallen_back", "oscillating"])
@pytest.mark.parametrize("floor", [-5.0, -0.5, -1e3])
def test_what_counts_of_losses_below_zero_is_what_lies_above_their_floor(kind: str, floor: float) -> None:
    plain = runs_of([kind], **SHIFT)
    shifted = plain.assign(floor_loss=floor)
    for name in ("initial_loss", "min_loss", "final_loss", "recent_mean_loss"):
        shifted[name] = shifted[name] + floor
    assert outcomes(shifted)["outcome"].tolist() == outcomes(plain)["outcome"].tolist() == [kind]


@pytest.mark.parametrize("lower", [1.5, 5.0])
def test_losses_that_begin_below_what_is_learned_are_not_learned(lower: float) -> None:
    """Nothing tells what is low there, as no floor is declared."""
    runs = runs_of(["plateau"], **SHIFT)
    for name in ("initial_loss", "min_loss", "final_loss", "recent_mean_loss"):
        runs[name] = runs[name] - lower
    assert outcomes(runs)["outcome"].tolist() == ["plateau"]
    falls = {"initial_loss": 1.85, "min_loss": -1.0, "final_loss": -1.0, "recent_mean_loss": -1.0}
    assert outcomes(runs.assign(**falls))["outcome"].tolist() == ["learned"]


@pytest.mark.parametrize("missing", [("max_accuracy",), ("final_accuracy",), ("recent_max_accuracy", "final_accuracy")])
def test_accuracies_that_are_not_known_spoil_nothing_else(missing: tuple[str, ...]) -> None:
    kinds = ["learned", "plateau", "trapped", "unstable", "trapped_at_start"]
    runs = runs_of(kinds).assign(**dict.fromkeys(missing, np.nan))
    assert outcomes(runs)["outcome"].tolist() == kinds
    every = dict.fromkeys(("max_accuracy", "final_accuracy", "recent_max_accuracy"), np.nan)
    assert outcomes(runs.assign(**every))["outcome"].tolist() == kinds


@pytest.mark.parametrize("column", ["recent_mean_loss", "mean_grad_norm", "initial_loss"])
def test_a_run_that_lacks_a_number_has_no_outcome_and_the_others_have_theirs(column: str) -> None:
    rates, seeds = np.geomspace(1e-4, 1e-1, 4), np.arange(4)
    kinds = ["plateau", "learned", "learned", "trapped"] * 4
    runs = runs_of(kinds, learning_rate=np.tile(rates, 4), seed=seeds.repeat(4), run_id=[str(i) for i in range(16)])
    broken = runs.assign(**{column: runs[column].where(runs["run_id"] != "5")})
    judged = outcomes(broken)
    assert judged["outcome"].isna().tolist() == [i == 5 for i in range(16)]
    assert judged["outcome"].drop(5).tolist() == [kind for i, kind in enumerate(kinds) if i != 5]
    assert analysis.critical_lr(broken)["censored"].tolist() == analysis.critical_lr(runs)["censored"].tolist()
    assert analysis.shares(judged, ["learning_rate"])["n_seeds"].tolist() == [4, 3, 4, 4]


def test_an_accuracy_that_some_epochs_do_not_have_is_that_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(
        "from dataclasses import replace\n"
        "import jax.numpy as jnp\n"
        "from ghostsweep.tasks import onehot\n"
        "def accuracy(shape, output, trials):\n"
        "    return jnp.where(output.mean() > 0.5, jnp.nan, output.mean()).astype(shape.dtype)\n"
        "def never(shape, output, trials):\n"
        "    return jnp.full((), jnp.nan, shape.dtype)\n"
        "SOME = replace(onehot.TASK, name='some', version='1', outcomes=None, tally=None, accuracy=accuracy)\n"
        "NEVER = replace(onehot.TASK, name='never', version='1', outcomes=None, tally=None, accuracy=never)\n"
    )
    axes = {"learning_rate": [0.1, 3.0], "seed": [0, 1]}
    for task in ("SOME", "NEVER"):
        sweep = ghostsweep.sweep(
            task.lower(), model="full_rank", task=f"{tmp_path / 'some.py'}:{task}", n_units=6, input_ms=10,
            delay_ms=10, reaction_ms=10, epochs=60, axes=axes,
        )  # fmt: skip
        found = ghostsweep.run(sweep, out=tmp_path, progress=False)
        assert found.outcomes()["outcome"].notna().all()
        assert len(found.critical_lr()) == 2
        if task == "SOME":
            recorded = found.curves.groupby("run_id")["accuracy"].max()
            best = found.runs.set_index("run_id")["max_accuracy"]
            assert (recorded[best.index] <= best + 1e-6).all() and best.between(0, 0.5).all()


@pytest.mark.parametrize(("lower", "floor"), [(5.0, None), (5.0, -5.0), (0.0, None)])
def test_training_says_where_nothing_tells_what_is_low(lower: float, floor: float | None, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import jax.numpy as jnp\n"
        "from ghostsweep.declare import Model\n"
        "def initial(shape, traced, key):\n    return {'w': jnp.zeros((2,), shape.dtype)}\n"
        "def loss(shape, params, traced):\n"
        f"    error = ((params['w'] - 1) ** 2).mean() - {lower}\n"
        "    return error, jnp.asarray(1, shape.dtype)\n"
        f"OWN = Model('own', (), initial, loss=loss, version='of_{lower}_{floor}'"
        + (f", floor=lambda fields: {floor})\n" if floor is not None else ")\n")
    )
    axes = {"learning_rate": [1e-7, 0.3], "seed": [0]}
    sweep = ghostsweep.sweep("low", model=str(tmp_path / "own.py"), epochs=100, axes=axes)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = ghostsweep.run(sweep, out=tmp_path, progress=False)
    said = [str(each.message) for each in told if "what is low" in str(each.message)]
    assert len(said) == (lower > 0 and floor is None)
    wanted = ["plateau", "learned"] if floor is not None or lower == 0 else ["plateau", "plateau"]
    assert found.outcomes().sort_values("learning_rate")["outcome"].tolist() == wanted
