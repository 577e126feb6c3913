"""Sweeps of mixtures: of a user's own task, and of text from several stores."""

import sys
import types
from typing import ClassVar

import numpy as np
import pytest

import vsweep
from configs import text
from tests.vsweep import small
from tests.vsweep.tasks.test_rows import Padded, Windows
from tests.vsweep.tasks.test_text import CONTEXT, config_of, make_store, task_of, write_texts
from vsweep.cli.designing.base import CountedTask
from vsweep.config import sweep_config
from vsweep.config.problems import ConfigError
from vsweep.corpus.split import TRAIN
from vsweep.plan import grid
from vsweep.tables import read_curves, read_runs
from vsweep.tasks import build, mixture
from vsweep.train.dispatcher import Dispatcher
from vsweep.train.rows import TokenCounter


class Mixed(Windows):
    """The first 300 windows are one source, the last 100 another, and `rows` knows some more."""

    sources: ClassVar = {"many": range(300), "few": range(300, 400), "more": range(400, 480)}

    def __init__(self):
        super().__init__()
        self.ids = np.concatenate([self.ids, np.random.default_rng(1).integers(7, size=400).astype(np.uint8)])


class MixedAndPadded(Padded):
    sources: ClassVar = {"many": range(300), "few": range(300, 400)}


@pytest.fixture(autouse=True)
def module(monkeypatch):
    found = types.ModuleType("mine_mixed")
    found.Mixed, found.MixedAndPadded, found.Windows = Mixed, MixedAndPadded, Windows
    monkeypatch.setitem(sys.modules, "mine_mixed", found)
    return found


def values(task: str = "Mixed", train=None, **sweep) -> dict:
    found = small.config(train=train or {})
    found["task"] = {"name": f"mine_mixed:{task}"}
    found["sweep"] = {"budget": [800, 1600], "seed": [0], **sweep}
    return found


def problems_of(config: dict) -> str:
    with pytest.raises(ConfigError) as error:
        vsweep.plan_sweep(config)
    return str(error.value)


THREE = ["many:0.75,few:0.25", "many:0.25,few:0.75", "many:0.5,more:0.5"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three mixtures."""
    workdir = tmp_path_factory.mktemp("mixed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mine_mixed", types.SimpleNamespace(Mixed=Mixed, __file__="mine"))
        small.train(values(mixture=THREE), workdir)
    return workdir


def test_three_shares_are_one_stack_with_readable_names(trained):
    runs = read_runs(trained)
    assert runs["stack"].nunique() == 1
    assert set(runs["mixture"]) == set(THREE)
    assert runs["run_id"][0] == "d800-s0-mixture_few0.25_many0.75"
    assert (runs["status"] == "finished").all()
    assert runs.groupby("budget")["val_loss"].nunique().eq(3).all()


def test_epochs_and_unique_tokens_are_those_of_the_sources(trained):
    runs = read_runs(trained).set_index("run_id")
    run = runs.loc["d1.6k-s0-mixture_few0.75_many0.25"]  # 320 examples, of which 240 come from 100
    assert run["unique_examples"] == 400
    assert run["epochs"] == pytest.approx(320 / 400)
    parts = mixture.read(THREE[1], Mixed.sources)
    assert run["unique_tokens"] == 5 * (100 + parts.places(0, 320)[1])


def test_a_stopped_mixture_goes_on_to_the_same_tables(trained, tmp_path):
    small.train(values(mixture=THREE), tmp_path, progress=small.StopAfter(1))
    assert set(read_runs(tmp_path)["status"]) != {"finished"}
    small.train(values(mixture=THREE), tmp_path)
    assert (tmp_path / "curves.csv").read_bytes() == (trained / "curves.csv").read_bytes()


def test_a_longer_run_begins_as_a_shorter_one():
    _, runs = runs_of(values(mixture=THREE))
    short, long = runs["d800-s0-mixture_few0.75_many0.25"], runs["d1.6k-s0-mixture_few0.75_many0.25"]
    assert np.array_equal(seen_by(short), seen_by(long)[: 8 * short.steps])


def runs_of(config: dict):
    checked = sweep_config.from_dict(config)
    task = build(checked.task)
    return task, {run.run_id: run for stack in grid.build_stacks(checked, task) for run in stack.runs}


def seen_by(run: grid.Run) -> np.ndarray:
    return run.mixture.examples(run.data_seed, 0, run.steps * run.shape.batch_size)


def test_devices_are_sent_the_rows_of_the_mixture():
    sweep = vsweep.plan_sweep(values(mixture=THREE))
    stack, plan = sweep.stacks[0], sweep.plans[0]
    dispatcher = object.__new__(Dispatcher)
    dispatcher.sweep, dispatcher.stack, dispatcher.plan, dispatcher.step = sweep, stack, plan, 0
    dispatcher.runs = {run.run_id: run for run in stack.runs}
    shape = types.SimpleNamespace(chunk=(4, plan.slots, 8, 6), token_dtype="uint8", batch_size=8)
    dispatcher.programs = types.SimpleNamespace(shape=shape)
    tokens_CxKxBxS = dispatcher._tokens(4)
    for slot, entry in enumerate(plan.entries_at(0)):
        expected = sweep.task.rows(dispatcher.runs[entry.run_id].mixture.examples(0, 0, 32))
        assert np.array_equal(tokens_CxKxBxS[:, slot].reshape(32, 6), expected)


def test_without_a_mixture_nothing_changes():
    plain, mixed = runs_of(values())[1], runs_of(values(train={"mixture": "many:1"}))[1]
    assert plain["d800-s0"].mixture is None
    assert plain["d800-s0"].unique_examples == 400
    assert mixed["d800-s0"].mixture.text == "many:1"
    assert mixed["d800-s0"].unique_examples == 300
    config = sweep_config.from_dict(values())
    assert "mixture" not in config.to_dict()["train"]


def test_one_mixture_for_all_runs_has_no_column():
    config = sweep_config.from_dict(values(train={"mixture": "many:1"}))
    assert config.added_columns == ()
    assert set(runs_of(values(train={"mixture": "many:1"}))[1]) == {"d800-s0", "d1.6k-s0"}


def test_labels_of_padded_examples_are_counted_by_source():
    sweep = vsweep.plan_sweep(values("MixedAndPadded", mixture=THREE[:2]))
    counter = TokenCounter(sweep)
    for run in sweep.stacks[0].runs:
        seen, labels = seen_by(run), sweep.task.label_tokens
        assert counter.by_step(run)[run.steps] == labels[seen].sum()
        assert counter.unique(run, run.steps) == labels[np.unique(seen)].sum()


def test_mixtures_that_cannot_be_are_refused_in_one_list():
    told = problems_of(values(mixture=["many:0.7,fwe:0.3", "many:0.7"], unique_examples=[500]))
    assert "sweep.mixture: no source fwe - got 'many:0.7,fwe:0.3'; allowed: many, few, more; did you mean few?" in told
    assert "the shares sum to 0.7" in told


def test_epochs_of_one_source_are_limited():
    told = problems_of(values(mixture=THREE, train={"max_epochs": 2}))
    assert told == (
        "budget: more epochs than train.max_epochs - got 1,600, 2.4 epochs of 100 examples of few; allowed: at most 2 "
        "epochs (0: no limit)"
    )


def test_two_mixtures_that_mean_the_same_run_are_refused():
    assert "two values of an axis mean the same run" in problems_of(values(mixture=[THREE[0], "few:.25,many:.75"]))


def test_unique_examples_go_by_share():
    _, runs = runs_of(values(mixture=THREE[:1], unique_examples=[40]))
    run = next(iter(runs.values()))
    assert {part.source: part.unique for part in run.mixture.parts} == {"few": 10, "many": 30}
    assert len(np.unique(seen_by(run))) == 40
    told = problems_of(values(mixture=THREE[1:2], unique_examples=[200]))
    assert (
        "unique_examples: more than source few has - got 200, of which 150 by its share; allowed: at most 133" in told
    )


@pytest.mark.parametrize(
    ("sources", "told"),
    [
        ({"bad name": range(3)}, "has a bad name"),
        ({"a": range(5, 5)}, "no set of examples"),
        ({"a": [1, 2]}, "no set of examples"),
    ],
)
def test_sources_that_are_no_ranges_are_refused(sources, told, module):
    module.Windows = type("Windows", (Windows,), {"sources": sources})
    assert told in problems_of(values("Windows"))


def test_a_task_without_sources_cannot_be_mixed():
    config = small.config(train={"mixture": "web:1"})
    assert "no source web - got 'web:1'; allowed: a task with sources" in problems_of(config)


def test_words_of_a_command_line_are_several_mixtures():
    _, runs = runs_of(values(mixture="few:1;few:0.5,many:0.5"))
    names = {"mixture_few1", "mixture_few0.5_many0.5"}
    assert set(runs) == {f"{budget}-s0-{name}" for budget in ("d800", "d1.6k") for name in names}


def test_an_extension_adds_a_mixture(tmp_path):
    small.train(values(train={"mixture": THREE[0]}), tmp_path)
    small.train(values(mixture=THREE[:2]), tmp_path, extend=True)
    runs = read_runs(tmp_path)
    assert list(runs["generation"]) == [1, 2, 1, 2]
    assert list(runs["mixture"]) == [THREE[0], THREE[1]] * 2


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")
    return {name: make_store(folder / name, seed) for seed, name in enumerate(("main", "web", "code"))}


def of_stores(stores) -> str:
    return f"web:{stores['web'].folder}, code:{stores['code'].folder}"


def test_stores_are_sources_of_text(stores):
    task = task_of(stores["main"].folder, sources=of_stores(stores))
    plain = task_of(stores["main"].folder)
    assert list(task.sources) == ["corpus", "code", "web"]
    assert task.train_examples == plain.train_examples == len(task.sources["corpus"])
    for name, store in (("corpus", stores["main"]), ("web", stores["web"]), ("code", stores["code"])):
        numbers = np.array([[task.sources[name].start, task.sources[name].stop - 1]])
        last = store.count_blocks(TRAIN, CONTEXT) - 1
        assert np.array_equal(task.rows(numbers), store.blocks(TRAIN, np.array([[0, last]]), CONTEXT))
    assert task.digest != plain.digest == stores["main"].digest


def test_losses_by_source_have_columns(stores, tmp_path):
    sweep = {"budget": [1024], "mixture": ["corpus:1", "web:0.7,code:0.3", "web:0.3,code:0.7"]}
    config = config_of(stores["main"].folder, sweep, sources=of_stores(stores))
    small.train(config, tmp_path)
    for table in (read_runs(tmp_path), read_curves(tmp_path)):
        assert table[["val_loss", "val_loss_web", "val_loss_code"]].notna().all().all()
        assert {"val_loss_code_se", "val_bits_per_byte_web"} <= set(table.columns)
    runs = read_runs(tmp_path).set_index("mixture")
    assert runs["stack"].nunique() == 1
    plain = tmp_path / "plain"
    small.train(config_of(stores["main"].folder, {"budget": [1024]}), plain)
    assert runs.loc["corpus:1", "val_loss"] == pytest.approx(read_runs(plain)["val_loss"][0], rel=1e-6)


def test_a_config_without_sources_is_stored_as_before(stores):
    told = sweep_config.from_dict(config_of(stores["main"].folder)).to_dict()
    assert "sources" not in told["task"]
    assert "mixture" not in told["train"]


def test_a_changed_source_is_refused_on_resume(stores, tmp_path):
    sweep = {"budget": [1024], "mixture": ["web:1", "code:1"]}
    small.train(
        config_of(stores["main"].folder, sweep, sources=of_stores(stores)), tmp_path, progress=small.StopAfter(1)
    )
    other = {**stores, "web": stores["code"], "code": stores["web"]}
    with pytest.raises(ConfigError, match="its data are not those"):
        small.train(config_of(stores["main"].folder, sweep, sources=of_stores(other)), tmp_path)


def test_sources_that_do_not_fit_are_refused_in_one_list(stores, tmp_path):
    other = make_store(tmp_path / "other", seed=5, count=40)
    raw = write_texts(tmp_path / "raw", seed=6)  # tokenised with the usual split
    sources = f"corpus:{stores['web'].folder}, same:{stores['main'].folder}, raw:{raw}, gone:{tmp_path / 'gone'}"
    told = problems_of(config_of(stores["main"].folder, sources=sources, more_held_out=f"gone:{other.folder}"))
    assert "task.sources: the name of the corpus itself - got corpus" in told
    assert "task.sources: the documents of corpus - got same:" in told
    assert "task.sources: another split than that of the corpus, in raw - got --held-out 0.05 --split-seed 0" in told
    assert "task.sources: no such file or folder" in told


def test_a_further_set_cannot_have_the_name_of_a_source(stores):
    sets = f"web:{stores['code'].folder}"
    told = problems_of(config_of(stores["main"].folder, sources=of_stores(stores), more_held_out=sets))
    assert "task.more_held_out: the name of a source, whose losses are measured - got web" in told


def test_the_work_directory_tells_the_sources(stores):
    facts = task_of(stores["main"].folder, sources=of_stores(stores)).facts
    web = stores["web"].manifest.splits[TRAIN]
    assert facts["sources"]["web"] == {"tokens": web.tokens, "documents": web.documents}


def test_the_config_of_a_mixture_is_one_stack_a_width():
    config = sweep_config.from_dict(text.get_config("mixture"))
    task = CountedTask(256, 65, sources={"early": range(80_000), "late": range(80_000, 160_000)})
    stacks = grid.build_stacks(config, task)
    assert [len(stack.runs) for stack in stacks] == [9, 9]
    assert len({run.mixture for run in stacks[0].runs}) == 3
