"""The demo guard's trainer has its own forward pass: it must give the same results as the served network."""

import subprocess

from demo.state import ROOT
from tests.stands.processes.guard_process import guard_python

SCRIPT = """
import torch
from transformers import Qwen3ForCausalLM
from training.gen import planted_network

model = Qwen3ForCausalLM.from_pretrained("guard_server/demo_guard/gen", dtype=torch.float32).eval()
ids = torch.randint(0, model.config.vocab_size, (3, 90), generator=torch.Generator().manual_seed(0))
places = torch.tensor([[89, 12], [3, 40], [0, 71]])
with torch.no_grad():
    served = model.model(input_ids=ids).last_hidden_state[torch.arange(3)[:, None], places]
    ours = planted_network.hidden(model, model.model.embed_tokens(ids), places)
print("differ by", (served - ours).abs().max().item(), "of", served.abs().max().item())
"""

PLANTED = """
import torch
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer
from guard_server.catalog import DEMO_TOKENIZER
from training.gen import asking, bag, planted_network, word_statistics
from training.gen.examples import Encoder
from moderation.verdict import Severity

tokenizer = Tokenizer.from_file(str(DEMO_TOKENIZER / "tokenizer.json"))
encode = Encoder(tokenizer)
rows = [row for row in asking.rows() if row.language == "es" and row.kind == "prompt"]
# What is asked of the network afterwards, one at a time: a share of what it learnt from.
asked_rows = slice(None, None, 8)
examples = encode.rows(rows)
torch.manual_seed(0)
model = planted_network.build(tokenizer)
odds = [1.0 if row.severity is Severity.UNSAFE else -1.0 for row in rows]
size = model.config.hidden_size - 1 - word_statistics.HARMS
bag.plant(word_statistics.learn(examples, odds, encode, size, 1), model, encode)
harm = []
with torch.no_grad():
    for example in examples[asked_rows]:
        # Where the severity is read: one place before its own.
        asked = torch.tensor([example.ids[: len(example.ids) - len(example.reply) + 1]])
        scores = model(asked).logits[0, -1]
        harm.append((scores[encode.severities[2]] - scores[encode.severities[0]]).item())
print("area", roc_auc_score([row.severity is Severity.UNSAFE for row in rows[asked_rows]], harm))
"""


def test_the_trainers_forward_pass_is_that_of_the_served_network() -> None:
    result = subprocess.run([guard_python(), "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    words = result.stdout.split()
    assert float(words[2]) < 1e-4 * float(words[4])


def test_a_planted_network_recognises_harm_before_it_is_trained() -> None:
    result = subprocess.run([guard_python(), "-c", PLANTED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    assert float(result.stdout.split()[-1]) > 0.9
