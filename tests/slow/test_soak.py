"""The soak in short; the long one is `python -m tests.slow.harness.soak --minutes 30`."""

import json

import pytest

from tests.slow.harness import soak

pytestmark = pytest.mark.slow


def test_a_minute_of_kills_signals_and_bad_disks_loses_nothing(tmp_path):
    outcome = soak.soak(1.0, tmp_path, seed=0)
    assert outcome.violations == []
    assert outcome.rounds > 0
    assert outcome.finished == 2 * outcome.rounds
    assert outcome.reads > 0
    assert json.loads(json.dumps(outcome.to_json()))["sessions"] == outcome.sessions
