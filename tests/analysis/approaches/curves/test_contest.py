import numpy as np

from vsweep.analysis.approaches.curves.contest import Contest


def test_contest_finds_the_winners_of_all_curves():
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(40, 25))
    curves[rng.random(curves.shape) < 0.5] = np.inf  # absent there
    curves[:, 3] = 0.5
    curves[:, 7] = curves[:, 3]  # the first of equals wins
    shifts = 0.1 * rng.normal(size=(60, 25))
    shifts[0] = 0.0
    contest = Contest.between(curves + shifts.min(axis=0), curves + shifts.max(axis=0))
    log_loss = np.take_along_axis(curves, contest.curve, axis=1)
    best, lowest = contest.winners(log_loss + shift[contest.curve] for shift in shifts)
    moved = curves + shifts[:, None, :]
    assert contest.curve.shape[1] < 12
    assert np.array_equal(best, moved.argmin(axis=2))
    assert np.array_equal(lowest, moved.min(axis=2))
