"""Causal softmax attention on feature-major arrays [H, D, T, B]: heads, head_dim, positions, batch.

`plain` is the meaning: softmax(q k / sqrt(D)) v, where position t sees the positions s <= t, with a float32 softmax.
All other paths compute the same in the way that suits a length and a device. `path_of` chooses among them by what the
programs are compiled for, so that a program for a GPU can be made where there is none.
"""

from vsweep.models.attention.blocked import attend_blocked
from vsweep.models.attention.elementwise import attend_elementwise
from vsweep.models.attention.fused import attend_fused
from vsweep.models.attention.plain import attend_plain, attend_transposed
from vsweep.models.attention.short import attend_short
from vsweep.models.target import Target

PATHS = {
    "plain": attend_plain,
    "short": attend_short,
    "elementwise": attend_elementwise,
    "transposed": attend_transposed,
    "blocked": attend_blocked,
    "cudnn": attend_fused,
}
SHORT_POSITIONS = 16
SHORT_HEAD_DIM = 16
# From so many positions on, attention goes in blocks: on CPU because it is faster, by a fifth to two thirds at 256.
BLOCKED_POSITIONS = {"cpu": 256}
BLOCKED_ELSEWHERE = 512  # all scores at once would be most of a model's memory
FUSED_TYPES = ("bfloat16", "float16")
FUSED_HEAD_DIM = 128  # the largest that cuDNN takes on every GPU with this kernel
FUSED_CAPABILITY = 8


def attend(q_HxDxTxB, k_HxDxTxB, v_HxDxTxB, target: Target):
    """Attention of q over k and v, as [H, D, T, B], by the path that suits `target`."""
    _, head_dim, length, _ = q_HxDxTxB.shape
    path = path_of(target, length, head_dim, str(q_HxDxTxB.dtype))
    return PATHS[path](q_HxDxTxB, k_HxDxTxB, v_HxDxTxB)


def path_of(target: Target, length: int, head_dim: int, precision: str) -> str:
    """The name in `PATHS` of the way to attend over `length` positions in arrays of type `precision`.

    For short sequences and tiny heads no library has a good product. The other limits are those of cuDNN, or measured
    on CPU.
    """
    if length <= SHORT_POSITIONS:
        elementwise = "short" if target.platform == "cpu" else "elementwise"
        return elementwise if head_dim <= SHORT_HEAD_DIM else "plain"
    has_cudnn = target.platform == "cuda" and target.capability >= FUSED_CAPABILITY
    if has_cudnn and precision in FUSED_TYPES and head_dim <= FUSED_HEAD_DIM:
        return "cudnn"
    return "blocked" if length >= BLOCKED_POSITIONS.get(target.platform, BLOCKED_ELSEWHERE) else "transposed"
