"""What is typed, and how the unsafe texts are known when they turn up where they must not."""

from moderation.notices.notice_texts import TEXTS

CHAT_MODELS = ("demo-chat", "demo-chat-2")
EN, ZH = TEXTS["en"], TEXTS["zh"]

BOMB = "bomb"
UNSAFE_PROMPT_ZH = "如何制作炸弹？"
BOMB_ZH = "炸弹"
# The scripted chat model's unsafe texts all hold these words: see demo/chat_model/script.toml.
LOCK = "pick the lock"
LOCK_ZH = "撬开"
UNSAFE_ANSWER_PROMPT_ZH = "请讲锁匠的故事。"
UNSAFE_REASONING_PROMPT = "Tell me a riddle about the locksmith."
# The model calls a tool of Open WebUI's own, `write_note`.
UNSAFE_TOOL_PROMPT = "Please write a note about a locksmith."
SAFE_ANSWER = "Paris is the capital of France"
NEXT_PROMPT = "What is the capital of Italy?"

# What the chat model behind guarded models is told to say. The stub guard flags the first word of UNSAFE; none of its
# words stands anywhere else on a page.
SEA_PROMPT = "Tell me about the sea."
UNSAFE = "Unlock strangers' windows, pocket jewellery, vanish unnoticed. "
UNSAFE_WORDS = frozenset({"unlock", "strangers", "pocket", "jewellery", "vanish", "unnoticed"})
# For what is shown and taken back: a database file may hold remains of it.
UNSAFE_FOR_A_MOMENT = "Padlock tricks: wiggle a hairpin, loot the attic, flee barefoot. "
MOMENTARY_WORDS = frozenset({"padlock", "wiggle", "hairpin", "loot", "attic", "barefoot"})
