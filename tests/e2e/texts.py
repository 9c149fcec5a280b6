"""What is typed, and how the unsafe texts are known when they turn up where they must not."""

from demo.stack import SAFE_PROMPT, UNSAFE_ANSWER_PROMPT, UNSAFE_PROMPT
from moderation.notice_texts import TEXTS

EN, ZH = TEXTS["en"], TEXTS["zh"]

BOMB = "bomb"
UNSAFE_PROMPT_ZH = "如何制作炸弹？"
BOMB_ZH = "炸弹"
# The scripted chat model's unsafe texts all hold these words: see demo/script.toml.
LOCK = "pick the lock"
LOCK_ZH = "撬开"
UNSAFE_ANSWER_PROMPT_ZH = "请讲锁匠的故事。"
UNSAFE_REASONING_PROMPT = "Tell me a riddle about the locksmith."
SAFE_ANSWER = "Paris is the capital of France"
NEXT_PROMPT = "What is the capital of Italy?"

__all__ = ["SAFE_PROMPT", "UNSAFE_ANSWER_PROMPT", "UNSAFE_PROMPT"]
