"""How long a training step takes on a GPU that nobody has: predicted from the program that XLA compiles for it.

    python -m benchmarks.gpu_model             the predictions from recorded counts, in seconds
    python -m benchmarks.gpu_model --record    compiles again what they are counted in, and records that; no GPU needed,
                                               but `make gpu-compile` before it; a quarter of an hour on two cores
    python -m benchmarks.gpu_model --measure   on a GPU: measures beside the predictions, in eight minutes at most

The model is `prediction.py`. **Everything here but `--measure` is a prediction: nothing was executed on a GPU.**
"""
