"""The demo guard's own byte-level BPE, with Qwen3's control tokens and one token for each part of a reply.

Imports `tokenizers` only in `build`.
"""

from collections.abc import Iterable
from typing import Any

from moderation.verdict import Category, Severity

# The control tokens of Qwen/Qwen3-0.6B's tokenizer, in its order.
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")

# Each part of a reply is one token, so that a verdict is cheap. A part that also occurs inside words (" No" in
# " North") is a token only if no letter is next to it: this is always so in a reply, and rare elsewhere.
_REPLY_LINES = ("Safety:", "\nCategories:", "\nRefusal:", *(f", {category}" for category in Category))
_REPLY_WORDS = (*(f" {severity}" for severity in Severity), *(f" {category}" for category in Category))
_REPLY_ANSWERS = (" None", " Yes", " No")

# Words with the space before them. Punctuation, line ends and the digits of numbers are folded: they mostly show which
# dataset a text comes from, and a linear model without them was better on held-out sources.
_WORDS = r" ?\p{N}+| ?[\p{L}\p{M}]+"
_FOLDED = ((r"['’]", ""), (r"\p{N}+", "0"), (r"[^\p{L}\p{M}\p{N}]+", " "))


def build(texts: Iterable[str], size: int) -> Any:
    """A `tokenizers.Tokenizer` of exactly `size` tokens, trained on `texts`.

    Text is folded to lower case, NFKC and plain words, so that the small vocabulary is used for words and not for
    spellings of them. The reply's tokens keep their case, since added tokens are matched before folding.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    folded = [normalizers.Replace(Regex(pattern), by) for pattern, by in _FOLDED]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), *folded, normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = len(SPECIAL) + len(_TAGS) + len(_REPLY_LINES) + len(_REPLY_WORDS) + len(_REPLY_ANSWERS)
    trainer = trainers.BpeTrainer(
        vocab_size=size - added,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in (*_TAGS, *_REPLY_LINES)])
    words = (*_REPLY_WORDS, *_REPLY_ANSWERS)
    tokenizer.add_tokens([AddedToken(token, normalized=False, single_word=True) for token in words])
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f"the texts give a vocabulary of {tokenizer.get_vocab_size()} tokens, not {size}")
    return tokenizer
