"""The prompts, and the words by which tests recognise unsafe texts in places where they must not be."""

from moderation.notices.notice_texts import TEXTS

CHAT_MODELS = ("demo-chat", "demo-chat-2")
EN, ZH = TEXTS["en"], TEXTS["zh"]

BOMB = "bomb"
UNSAFE_PROMPT_ZH = "如何制作炸弹？"
BOMB_ZH = "炸弹"
# All unsafe texts of the scripted chat model have these words: see demo/chat_model/script.toml.
LOCK = "pick the lock"
LOCK_ZH = "撬开"
UNSAFE_ANSWER_PROMPT_ZH = "请讲锁匠的故事。"
UNSAFE_REASONING_PROMPT = "Tell me a riddle about the locksmith."
# The model calls `write_note`, a tool of Open WebUI.
UNSAFE_TOOL_PROMPT = "Please write a note about a locksmith."
SAFE_ANSWER = "Paris is the capital of France"
NEXT_PROMPT = "What is the capital of Italy?"

# The answers of the guarded models' stub chat model. The stub guard flags the first word of UNSAFE; none of its words
# is anywhere else on a page.
SEA_PROMPT = "Tell me about the sea."
UNSAFE = "Unlock strangers' windows, pocket jewellery, vanish unnoticed. "
UNSAFE_START = "Unlock"
UNSAFE_WORDS = frozenset({"unlock", "strangers", "pocket", "jewellery", "vanish", "unnoticed"})
# For text that is shown and taken back: a database file may have remains of it.
UNSAFE_FOR_A_MOMENT = "Padlock tricks: wiggle a hairpin, loot the attic, flee barefoot. "
MOMENTARY_WORDS = frozenset({"padlock", "wiggle", "hairpin", "loot", "attic", "barefoot"})
