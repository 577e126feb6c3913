"""BFGS on many small problems at once: the resamples of a bootstrap differ by their weights only.

Two hundred calls of a general optimiser spend nearly all of their time in its bookkeeping.
"""

from collections.abc import Callable

import numpy as np

ITERATIONS = 300
TRIALS = 15
SHORTEN = (0.1, 0.5)  # least and most that is left of a step that went too far
SUFFICIENT = 1e-4  # Armijo's condition, Nocedal and Wright 2006, equation 3.4
GRADIENT_TOLERANCE = 1e-6
GAIN_TOLERANCE = 1e-11
LEAST_VALUE = 1e-3  # below it a value is as good as zero, and a gradient need not fall with it

# (theta [m, p], rows [m]) -> values [m], gradients [m, p] of the problems with these row numbers.
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimise_together(
    objective: Objective,
    theta: np.ndarray,
    given_up: Callable[[np.ndarray], np.ndarray] | None = None,
    gain: float = GAIN_TOLERANCE,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimises r independent problems from theta [r, p].

    Returns theta [r, p] and values [r]. A row that has arrived, or that is `given_up` (theta [m, p] -> [m]), is
    computed no more. One has arrived when a step gains less than `gain` of its value.
    """
    theta = theta.copy()
    rows = np.arange(len(theta))
    value, gradient = objective(theta, rows)
    inverse = np.tile(np.eye(theta.shape[1]), (len(theta), 1, 1))  # [r, p, p]
    inverse /= np.maximum(np.linalg.norm(gradient, axis=1), 1e-300)[:, None, None]
    for _ in range(ITERATIONS):
        direction = -np.einsum("rij,rj->ri", inverse[rows], gradient[rows])
        step, new_value, new_gradient = _search(objective, rows, theta[rows], value[rows], gradient[rows], direction)
        gained = value[rows] - new_value
        inverse[rows] = _update(inverse[rows], step, new_gradient - gradient[rows])
        theta[rows] += step
        value[rows], gradient[rows] = new_value, new_gradient
        arrived = np.abs(new_gradient).max(axis=1) < GRADIENT_TOLERANCE * np.clip(new_value, LEAST_VALUE, 1)
        going_on = (gained > gain * np.abs(new_value)) & ~arrived
        if given_up is not None:
            going_on &= ~given_up(theta[rows])
        rows = rows[going_on]
        if not len(rows):
            break
    return theta, value


def _search(objective: Objective, rows, theta, value, gradient, direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shortens each row's step until its value falls enough: steps [m, p] (zero where none does), values, gradients.

    The next length is at the minimum of the parabola through what is known (Nocedal and Wright 2006, equation 3.58).
    """
    slope = (gradient * direction).sum(axis=1)
    step, new_value, new_gradient = np.zeros_like(theta), value.copy(), gradient.copy()
    pending, length = np.arange(len(rows)), np.ones(len(rows))
    for _ in range(TRIALS):
        tried = length[pending, None] * direction[pending]
        trial_value, trial_gradient = objective(theta[pending] + tried, rows[pending])
        enough = trial_value <= value[pending] + SUFFICIENT * length[pending] * slope[pending]
        done = pending[enough]
        step[done], new_value[done], new_gradient[done] = tried[enough], trial_value[enough], trial_gradient[enough]
        pending, missed = pending[~enough], trial_value[~enough]
        if not len(pending):
            break
        fall = slope[pending] * length[pending]
        best = -fall / (2 * (missed - value[pending] - fall))
        length[pending] *= np.where(np.isfinite(best), np.clip(best, *SHORTEN), SHORTEN[0])
    return step, new_value, new_gradient


def _update(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse Hessians [r, p, p] after a step [r, p] that changed the gradient by `change` (equation 6.17)."""
    curvature = (step * change).sum(axis=1)
    good = curvature > 1e-14
    rho = 1 / np.where(good, curvature, 1.0)
    left = np.eye(step.shape[1]) - rho[:, None, None] * step[:, :, None] * change[:, None, :]
    updated = left @ inverse @ np.swapaxes(left, 1, 2) + rho[:, None, None] * step[:, :, None] * step[:, None, :]
    return np.where(good[:, None, None], updated, inverse)
