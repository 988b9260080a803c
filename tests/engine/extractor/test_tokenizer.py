"""What is read off a transformers tokenizer."""

from types import SimpleNamespace

from amix.engine.extractor.tokenizer import padding_id


def test_padding_falls_back_to_the_end_of_text() -> None:
    assert padding_id(SimpleNamespace(pad_token_id=0, eos_token_id=7)) == 0
    assert padding_id(SimpleNamespace(pad_token_id=None, eos_token_id=7)) == 7
    assert padding_id(SimpleNamespace(eos_token_id=None)) == 0
