"""A corpus: documents are read once, tokenised and kept as a store of ids that training maps into memory.

Text is never streamed while a model trains, because a shuffled stream cannot be resumed exactly.
"""
