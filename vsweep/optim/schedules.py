"""Learning-rate schedules over normalised progress.

optax's stock schedules refuse traced horizons, and here each run has its own. So a schedule is a unit function of
progress in [0, 1], and the learning rate is peak x warmup ramp x unit(progress). Cosine ends at `final_lr_fraction` of
the peak: a fraction, never multiplied by the peak again. Before its decay starts a schedule is exactly 1, whatever the
horizon: runs of one wsd trunk are the same run until then.
"""

import jax
import jax.numpy as jnp
import optax


def unit_schedule(name: str, final_fraction: float) -> optax.Schedule:
    """A schedule from 1 at progress 0 to `final_fraction` at progress 1 (`constant` stays at 1).

    `wsd` falls as 1 - sqrt over its cooldown (Hägele et al. 2024).
    """
    schedules = {
        "cosine": lambda: optax.cosine_decay_schedule(1.0, decay_steps=1, alpha=final_fraction),
        "linear": lambda: optax.linear_schedule(1.0, final_fraction, transition_steps=1),
        "constant": lambda: optax.constant_schedule(1.0),
        "wsd": lambda: lambda progress: 1.0 - (1.0 - final_fraction) * jnp.sqrt(progress),
    }
    return schedules[name]()


def learning_rate(schedule: optax.Schedule, *, peak, step, horizon, warmup_steps, decay_start) -> jax.Array:
    """Learning rate of the update taken at `step` (from 0) of a run of `horizon` steps; all may be traced.

    The ramp rises linearly over `warmup_steps` updates and reaches the peak at the first update after them; the
    schedule's progress goes from 0 at the step `decay_start` to 1 at the horizon.
    """
    steps = (step, horizon, warmup_steps, decay_start)
    step, horizon, warmup, start = (jnp.asarray(value, jnp.float32) for value in steps)
    ramp = jnp.minimum(1.0, (step + 1.0) / (warmup + 1.0))
    progress = jnp.clip((step - start) / jnp.maximum(horizon - start, 1.0), 0.0, 1.0)
    return peak * ramp * schedule(progress)
