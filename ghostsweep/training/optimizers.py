"""The update rules and learning-rate schedules of a run, as optax transformations whose numbers are traced.

Built inside the compiled program, so that one program serves every value of a numeric argument; which rule and
schedule it is, and which optional parts are on, is part of the shape.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from ghostsweep.declare.shape import Shape


def build(shape: Shape, traced: Mapping[str, jax.Array]) -> optax.GradientTransformation:
    """The update rule of one run, from its traced fields, one scalar each.

    In this order: the gradient is clipped to norm `clip_norm`, `weight_decay` times the parameters is added to it,
    the rule is applied. Rules with a weight decay of their own (adamw, lion) apply that to the update instead.
    """
    parts = []
    if "clip_norm" in traced:
        parts.append(optax.clip_by_global_norm(traced["clip_norm"]))
    if "weight_decay" in traced and shape.optimizer not in ("adamw", "lion"):
        parts.append(optax.add_decayed_weights(traced["weight_decay"]))
    return optax.chain(*parts, _rule(shape, traced))


def _rule(shape: Shape, traced: Mapping[str, jax.Array]) -> optax.GradientTransformation:
    scheduled = shape.schedule != "constant" or "warmup_epochs" in traced
    rate = functools.partial(learning_rate, shape, traced) if scheduled else traced["learning_rate"]
    momentum = traced.get("momentum")
    nesterov = bool(shape.get("nesterov"))
    betas = [traced[name] for name in ("beta1", "beta2", "epsilon") if name in traced]
    match shape.optimizer:
        case "sgd":
            return optax.sgd(rate, momentum, nesterov)
        case "adam":
            return optax.chain(_scale_by_adam(*betas, nesterov=nesterov), optax.scale_by_learning_rate(rate))
        case "adamw":
            decay = optax.add_decayed_weights(traced["weight_decay"])
            return optax.chain(_scale_by_adam(*betas, nesterov=nesterov), decay, optax.scale_by_learning_rate(rate))
        case "adamax":
            return optax.adamax(rate, *betas)
        case "amsgrad":
            return optax.amsgrad(rate, *betas)
        case "lion":
            return optax.lion(rate, *betas, weight_decay=traced["weight_decay"])
        case "rmsprop":
            return optax.rmsprop(rate, *betas, momentum=momentum, nesterov=nesterov)
        case "adagrad":
            return optax.adagrad(rate, eps=traced["epsilon"])
    raise ValueError(f"optimizer {shape.optimizer!r}")


def _scale_by_adam(
    beta1: jax.Array, beta2: jax.Array, epsilon: jax.Array, *, nesterov: bool
) -> optax.GradientTransformation:
    """optax.scale_by_adam with 1 - beta^t written as -expm1(t log beta).

    XLA does not vectorise `pow` on a CPU: with its two, an epoch of the canonical form took 4 times longer.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        grads: optax.Updates, state: optax.ScaleByAdamState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        count = state.count + 1
        mu = jax.tree.map(lambda mean, g: beta1 * mean + (1 - beta1) * g, state.mu, grads)
        nu = jax.tree.map(lambda mean, g: beta2 * mean + (1 - beta2) * g * g, state.nu, grads)
        times = count.astype(beta1.dtype)
        weight1, weight2 = -jnp.expm1(times * jnp.log(beta1)), -jnp.expm1(times * jnp.log(beta2))
        mean = jax.tree.map(lambda mean: mean / weight1, mu)
        if nesterov:  # Dozat 2016, without the further factor beta2 of its algorithm 2, as in optax
            ahead = -jnp.expm1((times + 1) * jnp.log(beta1))
            mean = jax.tree.map(lambda mean, g: beta1 * mean / ahead + (1 - beta1) * g / weight1, mu, grads)
        updates = jax.tree.map(lambda mean, square: mean / (jnp.sqrt(square / weight2) + epsilon), mean, nu)
        return updates, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def learning_rate(shape: Shape, traced: Mapping[str, jax.Array], epoch: jax.Array) -> jax.Array:
    """Step size of the update after `epoch` (whole number, from 0), a scalar.

    A linear rise from 0 over `warmup_epochs`, then, with p going from 0 to 1 over `decay_epochs` and f =
    `final_learning_rate`, the factor 1 - p + f p (linear), f + (1 - f) (1 + cos pi p) / 2 (cosine) or f^p
    (exponential); the same numbers as optax.linear_schedule, cosine_decay_schedule and exponential_decay.
    """
    time = epoch.astype(shape.dtype)
    warmup = traced.get("warmup_epochs")
    rate = traced["learning_rate"]
    if shape.schedule != "constant":
        final = traced["final_learning_rate"]
        progress = jnp.clip((time if warmup is None else time - warmup) / traced["decay_epochs"], 0, 1)
        if shape.schedule == "linear":
            rate = rate * (1 - progress + final * progress)
        elif shape.schedule == "cosine":
            rate = rate * (final + (1 - final) * (1 + jnp.cos(jnp.pi * progress)) / 2)
        else:
            rate = rate * jnp.exp(progress * jnp.log(final))  # faster than `pow`
    return rate if warmup is None else rate * jnp.minimum(time / warmup, 1)
