"""What the demo guard's network starts from: a bag of words that already tells harm, which training then refines.

Attention from random weights would need many passes over the data to learn words, and would learn by heart which
dataset they come from. So words are planted in it, and untrained it is roughly a linear model over them: the last layer
adds up all places, its norm divides by the length of the sum, as that model does, and all else adds little.
"""

from typing import Any

import torch

from guard_server.demo_gen.examples import Encoder
from guard_server.demo_gen.words import Words

# Root mean square of the planted embeddings. Beside them stands a constant, so many times as long as the mean word:
# without it the layers' norms would make all words equally loud, and a rare word is to be louder.
_LOUDNESS = 0.06
_CONSTANT = 2.0
# Makes the sum of words many times as long as what stands at its place.
_PULL = 60.0
# Of what is random in the network, where it adds to what was planted.
_QUIET = 0.1
# Spread of what is to say nothing yet: the reply's tokens, and the words of the template, which are in every sum.
_SILENT = 0.005
# How far a reply's token reads its own harm, so that no reply is certain yet.
_READ = 1.0
# Two heads of the first layer start by looking one and two words back, so that phrases are seen at once. Shares of the
# three fastest turning pairs of the query, and the gain that makes one place stand out.
_LOOK_BACK = (1, 2)
_PAIRS = (0.7, 0.2, 0.1)
_GAIN = 1.45


def plant(words: Words, model: Any, encode: Encoder) -> None:
    """Set the weights of `model`, fresh from `network.build`, so that it judges nearly as a linear model does.

    Args:
        words: whose numbers of harm and meaning are together one less than the model is wide.
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
    """Queries and keys that are the same for every word, turned so that they meet at a distance."""
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
