"""Which documents are held out: decided by each document's own text."""

import hashlib

TRAIN, HELD_OUT = "train", "held_out"
SPLITS = (TRAIN, HELD_OUT)
HASH_BYTES = 8


def split_of(text: bytes, *, share: float, seed: int) -> str:
    """`held_out` for about `share` of all texts (UTF-8), else `train`.

    A pure function of the text and `seed`. So equal documents lie on one side, and new documents move no old one.
    """
    key = seed.to_bytes(8, "big")
    drawn = int.from_bytes(hashlib.blake2b(text, digest_size=HASH_BYTES, key=key).digest(), "big")
    return HELD_OUT if drawn < share * 2 ** (8 * HASH_BYTES) else TRAIN
