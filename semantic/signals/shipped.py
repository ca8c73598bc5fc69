"""What the shipped models can be asked for, known without loading them: configurations are checked against it.

A test compares it with the shipped folder.
"""

from collections.abc import Mapping

from semantic.categories import CATEGORIES
from semantic.signals.api import CODE, DIFFICULTY, DOMAIN, EMBEDDING, LANGUAGE, PII, SAFETY

LANGUAGES = tuple("ar bg bn de en es fr hi hr hu it ja mk nl pl pt ru sq sr tr vi zh".split())  # noqa: SIM905  # a list of 22 lines
PII_TYPES = (
    "AGE", "API_KEY", "BANK_ACCOUNT", "CREDIT_CARD", "DATE_TIME", "DOMAIN_NAME", "EMAIL_ADDRESS", "GPE", "IBAN_CODE",
    "IP_ADDRESS", "LOCATION", "MAC_ADDRESS", "NRP", "ORGANIZATION", "PASSPORT", "PASSWORD", "PERSON", "PHONE_NUMBER",
    "STREET_ADDRESS", "TITLE", "USERNAME", "US_DRIVER_LICENSE", "US_SSN", "ZIP_CODE",
)  # fmt: skip

PROVIDES: Mapping[str, tuple[str, ...]] = {
    DOMAIN: CATEGORIES,
    SAFETY: ("benign", "harmful", "injection", "jailbreak"),
    DIFFICULTY: ("easy", "hard"),
    CODE: ("chat", "code"),
    LANGUAGE: LANGUAGES,
    PII: PII_TYPES,
    EMBEDDING: (),
}
