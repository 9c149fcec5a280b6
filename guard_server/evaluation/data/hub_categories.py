"""Maps the categories of other data sets to Qwen3Guard's.

By their definitions: Qwen3Guard's are in the README of github.com/QwenLM/Qwen3Guard ("Safety Policy"), the others on
the data sets' cards. A category that covers two of ours (weapons and drugs in one), or that matches none (politics:
ours is false information only), has no mapping. A row with such a category counts as one with unknown categories.
"""

from collections.abc import Iterable, Mapping

from moderation.verdict import Category

BEAVERTAILS: dict[str, Category] = {
    "discrimination,stereotype,injustice": Category.UNETHICAL_ACTS,
    "financial_crime,property_crime,theft": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "hate_speech,offensive_language": Category.UNETHICAL_ACTS,
    "misinformation_regarding_ethics,laws_and_safety": Category.UNETHICAL_ACTS,
    "non_violent_unethical_behavior": Category.UNETHICAL_ACTS,
    "privacy_violation": Category.PII,
    "self_harm": Category.SUICIDE_AND_SELF_HARM,
    "sexually_explicit,adult_content": Category.SEXUAL,
    "violence,aiding_and_abetting,incitement": Category.VIOLENT,
}
SAFE_RLHF: dict[str, Category] = {
    "Copyright Issues": Category.COPYRIGHT_VIOLATION,
    "Cybercrime": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "Discriminatory Behavior": Category.UNETHICAL_ACTS,
    "Drugs": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "Economic Crime": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "Insulting Behavior": Category.UNETHICAL_ACTS,
    "Privacy Violation": Category.PII,
    "Sexual Content": Category.SEXUAL,
    "Violence": Category.VIOLENT,
    "White-Collar Crime": Category.NON_VIOLENT_ILLEGAL_ACTS,
}
AEGIS: dict[str, Category] = {
    "Controlled/Regulated Substances": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "Copyright/Trademark/Plagiarism": Category.COPYRIGHT_VIOLATION,
    "Fraud/Deception": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "Guns and Illegal Weapons": Category.VIOLENT,
    "Harassment": Category.UNETHICAL_ACTS,
    "Hate/Identity Hate": Category.UNETHICAL_ACTS,
    "Immoral/Unethical": Category.UNETHICAL_ACTS,
    "Malware": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "PII/Privacy": Category.PII,
    "Sexual": Category.SEXUAL,
    "Sexual (minor)": Category.SEXUAL,
    "Suicide and Self Harm": Category.SUICIDE_AND_SELF_HARM,
    "Threat": Category.UNETHICAL_ACTS,
    "Violence": Category.VIOLENT,
}
WILD_GUARD: dict[str, Category] = {
    "copyright_violations": Category.COPYRIGHT_VIOLATION,
    "cyberattack": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "fraud_assisting_illegal_activities": Category.NON_VIOLENT_ILLEGAL_ACTS,
    "private_information_individual": Category.PII,
    "sexual_content": Category.SEXUAL,
    "social_stereotypes_and_unfair_discrimination": Category.UNETHICAL_ACTS,
    "toxic_language_hate_speech": Category.UNETHICAL_ACTS,
    "violence_and_physical_harm": Category.VIOLENT,
}


def matched(names: Iterable[str], matches: Mapping[str, Category]) -> frozenset[Category]:
    """The categories for `names`; empty (unknown) if one of them has no mapping."""
    found = [matches.get(name) for name in names]
    return frozenset(category for category in found if category) if all(found) else frozenset()
