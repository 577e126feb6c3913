"""A byte-level BPE tokenizer trained on the corpus itself, for vocabularies that suit small models."""

from collections.abc import Iterable

from vsweep.corpus.tokenizers import GPT2_END

SMALLEST = 257  # all bytes, and EOS
LARGEST = 2**16  # ids of two bytes
SAMPLE_BYTES = 100_000_000  # of training text that merges are learned from


def train_bpe(texts: Iterable[str], vocabulary: int) -> bytes:
    """The JSON of a tokenizer with at most `vocabulary` ids; EOS is 0. Each text comes back from its ids as it was.

    Only training documents belong into `texts`. Byte pairs as in Sennrich et al. 2016 (arXiv:1508.07909), over bytes as
    GPT-2 has them.
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[GPT2_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer.to_str(pretty=True).encode()
