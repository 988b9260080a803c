"""What is read off a transformers tokenizer."""

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from amix.engine.extractor.tokenizer import padding_id, special_ids

WORDS = ("a", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>")


def tokenizer(**roles: str) -> PreTrainedTokenizerFast:
    vocab = {word: number for number, word in enumerate(WORDS)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(vocab, unk_token="[UNK]")), unk_token="[UNK]", **roles
    )


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ({"pad_token": "[PAD]", "eos_token": "</s>"}, 1),
        ({"eos_token": "</s>"}, 7),
        ({"pad_token": "a", "eos_token": "</s>"}, 0),  # id 0 is an id like any other
        ({}, 0),
    ],
)
def test_padding_falls_back_to_the_end_of_text(roles: dict[str, str], expected: int) -> None:
    assert padding_id(tokenizer(**roles)) == expected


def test_special_ids_leave_out_roles_that_are_not_filled_and_unknown_words() -> None:
    assert special_ids(tokenizer()) == ()
    assert special_ids(tokenizer(cls_token="[CLS]", bos_token="[CLS]", sep_token="[SEP]")) == (3, 4)
    every = tokenizer(
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="<s>",
        eos_token="</s>",
    )
    assert special_ids(every) == (1, 3, 4, 5, 6, 7)
