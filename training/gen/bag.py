"""Initial weights of the demo guard's network: a bag-of-words model, which training then refines.

A network with random weights would need many passes over the data to learn words, and would memorise which dataset
they come from. So the results of linear models over words are planted in the embeddings, and the untrained network is
roughly such a model: the last layer sums over all positions, its norm divides by the length of the sum, as the linear
model does, and all other parts add little.
"""

from typing import Any

import torch

from training.gen.examples import Encoder
from training.gen.word_statistics import Words

# Root mean square of the planted embeddings. One more dimension has a constant, this many times as long as the mean
# word: without it the layers' norms would give all words the same length, but rare words should weigh more.
_LOUDNESS = 0.06
_CONSTANT = 2.0
# Makes the sum of words much larger than the embedding at its position.
_PULL = 60.0
# Factor on random weights that add to the planted ones.
_QUIET = 0.1
# Standard deviation of embeddings that mean nothing yet: the reply's tokens, and the template's words, which are in
# every sum.
_SILENT = 0.005
# Initial weight of a reply token on its own harm dimension; small, so that no reply is certain yet.
_READ = 1.0
# Two heads of the first layer start by attending to one and two words back, so that phrases have an effect at once.
# Shares of the three fastest rotating pairs (RoPE) of the query, and the gain that makes one position stand out.
_LOOK_BACK = (1, 2)
_PAIRS = (0.7, 0.2, 0.1)
_GAIN = 1.45


def plant(words: Words, model: Any, encode: Encoder) -> None:
    """Set the weights of `model`, new from `planted_network.build`, so that it judges nearly like a linear model.

    Args:
        words: with numbers of harm and of meaning that together are one less than the model's width.
    """
    with torch.no_grad():
        width = model.config.hidden_size
        embeddings = model.model.embed_tokens.weight
        planted = torch.cat((torch.tensor(words.harm), torch.tensor(words.meanings)), dim=1)
        planted *= torch.tensor(words.rarity)[:, None]
        planted *= _LOUDNESS * width**0.5 / planted.norm(dim=1).mean()
        silent = [*encode.replies, *encode.frame]
        planted[silent] = torch.randn(len(silent), width - 1) * _SILENT
        safe, _, unsafe = encode.severities
        planted[unsafe, 0] += _READ / 2 * width**-0.5
        planted[safe, 0] -= _READ / 2 * width**-0.5
        for column, category in enumerate(encode.categories, 1):
            planted[category, column] += _READ * width**-0.5
        embeddings[:, :-1] = planted
        embeddings[:, -1] = _CONSTANT * _LOUDNESS * width**0.5
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(_QUIET)
            layer.mlp.down_proj.weight.mul_(_QUIET)
            for projection in (layer.self_attn.q_proj, layer.self_attn.k_proj):
                projection.weight[:, -1] = 0
        last = model.model.layers[-1].self_attn
        last.q_norm.weight.fill_(_QUIET)
        last.v_proj.weight.copy_(torch.eye(width))
        last.v_proj.weight[-1] = 0
        last.o_proj.weight.copy_(torch.eye(width) * _PULL)
        _look_back(model.model.layers[0].self_attn, model.model.rotary_emb.inv_freq)


def _look_back(attention: Any, frequencies: Any) -> None:
    """Set queries and keys that are the same for each word, rotated so that they match at a fixed distance."""
    amplitudes = torch.zeros_like(frequencies)
    amplitudes[: len(_PAIRS)] = torch.tensor(_PAIRS).sqrt()
    size = 2 * len(frequencies)
    for head, distance in enumerate(_LOOK_BACK):
        rows = slice(head * size, (head + 1) * size)
        turned = -distance * frequencies
        attention.q_proj.weight[rows] *= 0.1
        attention.k_proj.weight[rows] *= 0.1
        attention.q_proj.weight[rows, -1] = torch.cat((amplitudes * turned.cos(), amplitudes * turned.sin()))
        attention.k_proj.weight[rows, -1] = torch.cat((amplitudes, torch.zeros_like(amplitudes)))
    attention.q_norm.weight.fill_(_GAIN)
    attention.k_norm.weight.fill_(_GAIN)
