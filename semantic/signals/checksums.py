"""The check digits of identifiers. Each takes the identifier without separators."""

SSN_DIGITS = 9
IBAN_CHARACTERS = (15, 34)
CARD_DIGITS = (12, 19)
JCB_DIGITS = 15
# Length by country, from the registry of ISO 13616.
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AT": 20, "BE": 16, "BG": 22, "CH": 21, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "EE": 20,
    "ES": 24, "FI": 18, "FR": 27, "GB": 22, "GR": 27, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27,
    "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MT": 31, "NL": 18, "NO": 15, "PL": 28, "PT": 25, "RO": 24,
    "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24, "TR": 26, "UA": 29,
}  # fmt: skip


def is_luhn(digits: str) -> bool:
    """Whether the last digit fits the others (ISO/IEC 7812, payment cards)."""
    total = 0
    for place, character in enumerate(reversed(digits)):
        value = int(character)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """Whether this is a payment card number of a known network, with the right check digit."""
    low, high = CARD_DIGITS
    network = digits[0] in "23456" if len(digits) > low else digits[:2] in ("50", "56", "57", "58", "63", "67")
    network = network or (len(digits) == JCB_DIGITS and digits[:4] in ("1800", "2131"))
    return low <= len(digits) <= high and network and len(set(digits)) > 1 and is_luhn(digits)


def is_iban(text: str) -> bool:
    """Whether the two check digits fit (ISO 13616: the rearranged number is 1 modulo 97)."""
    low, high = IBAN_CHARACTERS
    if not low <= len(text) <= high or not text.isalnum() or not text.isascii():
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def is_ssn(digits: str) -> bool:
    """Whether the number can have been issued: no area 000, 666 or 9xx, no group 00, no serial 0000."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    issued = len(digits) == SSN_DIGITS and area not in ("000", "666") and area[0] != "9"
    return issued and group != "00" and serial != "0000"
