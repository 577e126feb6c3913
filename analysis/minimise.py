"""BFGS on many small problems at once: the resamples of a bootstrap differ by their weights only.

Two hundred calls of a general optimiser spend nearly all of their time in its bookkeeping.
"""

from collections.abc import Callable

import numpy as np

ITERATIONS = 300
HALVINGS = 25
SUFFICIENT = 1e-4  # Armijo's condition, Nocedal and Wright 2006, equation 3.4
GRADIENT_TOLERANCE = 1e-6
GAIN_TOLERANCE = 1e-11

# (theta [m, p], rows [m]) -> values [m], gradients [m, p] of the problems with these row numbers.
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimise_together(objective: Objective, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimises r independent problems from theta [r, p].

    Returns theta [r, p] and values [r]. A row that has arrived is computed no more.
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
        arrived = np.abs(new_gradient).max(axis=1) < GRADIENT_TOLERANCE
        rows = rows[(gained > GAIN_TOLERANCE * np.abs(new_value)) & ~arrived]
        if not len(rows):
            break
    return theta, value


def _search(objective: Objective, rows, theta, value, gradient, direction) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halves each row's step until its value falls enough: steps [m, p] (zero where none does), values, gradients."""
    slope = (gradient * direction).sum(axis=1)
    step, new_value, new_gradient = np.zeros_like(theta), value.copy(), gradient.copy()
    pending, length = np.arange(len(rows)), 1.0
    for _ in range(HALVINGS):
        trial = theta[pending] + length * direction[pending]
        trial_value, trial_gradient = objective(trial, rows[pending])
        enough = trial_value <= value[pending] + SUFFICIENT * length * slope[pending]
        done = pending[enough]
        step[done], new_value[done], new_gradient[done] = (
            length * direction[done],
            trial_value[enough],
            trial_gradient[enough],
        )
        pending, length = pending[~enough], length / 2
        if not len(pending):
            break
    return step, new_value, new_gradient


def _update(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse Hessians [r, p, p] after a step [r, p] that changed the gradient by `change` (ibid., eq. 6.17)."""
    curvature = (step * change).sum(axis=1)
    good = curvature > 1e-14
    rho = 1 / np.where(good, curvature, 1.0)
    left = np.eye(step.shape[1]) - rho[:, None, None] * step[:, :, None] * change[:, None, :]
    updated = left @ inverse @ np.swapaxes(left, 1, 2) + rho[:, None, None] * step[:, :, None] * step[:, None, :]
    return np.where(good[:, None, None], updated, inverse)
