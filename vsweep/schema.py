"""The columns of `runs.csv`, `curves.csv` and `times.csv`: names, units and meanings."""

from vsweep.config.field import OPTIONAL, SPLITTING
from vsweep.config.fields import AXES, FIELDS, SWEPT
from vsweep.config.more_options import MORE_OPTIONS

RUNS_FILE = "runs.csv"
CURVES_FILE = "curves.csv"
TIMES_FILE = "times.csv"
SAMPLES_FILE = "samples.json"  # of a sweep of text
LIVE_FILE = "live.json"  # there while a sweep trains

QUEUED, RUNNING, FINISHED, DIVERGED = "queued", "running", "finished", "diverged"

# column: (unit, meaning). One row of runs.csv is one run.
RUN_COLUMNS = {
    "run_id": ("", "name of the run, unique in the sweep and safe as a file name"),
    "stack": ("", "name of the stack (the runs of one shape) that the run belongs to"),
    "task": ("", "name of the task"),
    **{axis: (SWEPT[axis].unit, SWEPT[axis].meaning) for axis in AXES},
    "params": ("", "N, all parameters; tied embeddings counted once"),
    "params_non_embedding": ("", "N without token and position embeddings and without an untied head (Kaplan's)"),
    "tokens": ("label tokens", "D, exact number of tokens the training loss was taken over"),
    "unique_tokens": ("label tokens", "tokens of the distinct examples the run has seen"),
    "epochs": ("", "passes over the run's unique examples"),
    "steps": ("steps", "optimizer steps taken so far; the run's horizon once it is finished"),
    "flops_6nd": ("FLOP", "C = 6 N D with N = params and D = tokens"),
    "flops_counted": ("FLOP", "C from counted matmuls, forward x 3, over all positions of the sequence"),
    "floor": ("nats/token", "exact entropy of the task's labels over all examples (E of the law)"),
    "train_loss": ("nats/token", "moving average of the training loss, dropout on"),
    "val_loss": ("nats/token", "held-out loss over all labels"),
    "val_loss_se": ("nats/token", "its standard error over held-out examples"),
    "excess_loss": ("nats/token", "val_loss minus the floor of the same held-out labels: a paired difference"),
    "excess_loss_se": ("nats/token", "its standard error over held-out examples"),
    "answer_loss": ("nats/token", "held-out loss over the answer's labels; its floor is exactly zero"),
    "answer_loss_se": ("nats/token", "its standard error over held-out examples"),
    "exact_match": ("share", "share of held-out examples whose whole answer is generated correctly"),
    "eval_examples": ("examples", "held-out examples behind these numbers"),
    "status": ("", f"{QUEUED} (it has not started), {RUNNING}, {FINISHED} or {DIVERGED}"),
    "diverged_at_step": ("step", "first step with a non-finite or exploding loss; empty if there was none"),
    "wall_s": ("s", "share of the stack's train_s, by the slot-steps of the run; a branch's are those after its fork"),
    "device": ("", "device kind and number of devices"),
    "matmul_precision": ("", "jax_default_matmul_precision while training; of auto what it came to"),
    "versions": ("", "versions of vsweep, Python, jax, flax, optax and orbax"),
    "inexact_resumes": ("", "times it went on in another environment (plan.json lists them); 0: trained in one"),
}
# Columns that follow these where a sweep varies a field that others hold at one value.
OPTIONAL_COLUMNS = tuple(
    dict.fromkeys(field.name for field in (*FIELDS, *MORE_OPTIONS) if field.kind in (OPTIONAL, SPLITTING))
)
# Columns that end the table of a sweep that was extended.
EXTENSION_COLUMNS = {
    "generation": ("", "with which config of the sweep the run came: 1 is the first one (plan.json has them)"),
    "in_config": ("", "1: the sweep's config has this run; 0: it had it, before values were taken out"),
}
ADDED_COLUMNS = ("inexact_resumes",)  # tables of an earlier version have no such column: empty when they are read

# One row of curves.csv is one evaluation of one run on its own log-spaced grid of steps.
CURVE_COLUMNS = {
    "run_id": ("", "the run"),
    **{
        name: RUN_COLUMNS[name]
        for name in (
            "steps",
            "tokens",
            "flops_6nd",
            "flops_counted",
            "train_loss",
            "val_loss",
            "excess_loss",
            "excess_loss_se",
            "answer_loss",
            "exact_match",
            "eval_examples",
        )
    },
}

# Columns that follow these in a sweep with `train.gradient_statistics`.
GRADIENT_COLUMNS = {
    "grad_norm": ("", "global norm of the gradient, before clipping, at the last step before the evaluation"),
    "noise_scale_tokens": (
        "label tokens",
        "simple noise scale of the gradient over the last tenth of the steps; empty where noise hides the gradient",
    ),
}

COMPILE, TRAIN, EVALUATE, CHECKPOINT, ANALYSIS, OTHER = (
    "compile_s",
    "train_s",
    "evaluate_s",
    "checkpoint_s",
    "analysis_s",
    "other_s",
)

# One row of times.csv is one stack, over all its sessions; the columns of a row add up to its wall time. Each says what
# the training thread did or waited for: work that is hidden behind training (a checkpoint being written, the next
# programs being compiled) is in no column but train_s.
TIME_COLUMNS = {
    "stack": ("", "name of the stack"),
    COMPILE: ("s", "waiting for the stack's programs"),
    TRAIN: ("s", "training steps"),
    EVALUATE: ("s", "evaluations: from the end of a chunk to the end of those that follow it"),
    CHECKPOINT: ("s", "waiting for a checkpoint to be on disk"),
    ANALYSIS: ("s", "in the hands of the caller, who draws reports"),
    OTHER: ("s", "restoring, and preparing the next chunk while the devices had nothing left to do"),
}
ACTIVITIES = tuple(name for name in TIME_COLUMNS if name != "stack")
COLUMNS = {RUNS_FILE: RUN_COLUMNS, CURVES_FILE: CURVE_COLUMNS, TIMES_FILE: TIME_COLUMNS}

# What one evaluation of a run measures.
EVALUATION_FIELDS = (
    "val_loss",
    "val_loss_se",
    "excess_loss",
    "excess_loss_se",
    "answer_loss",
    "answer_loss_se",
    "exact_match",
    "eval_examples",
)
