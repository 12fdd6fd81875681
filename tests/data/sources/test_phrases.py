from collections import Counter

from accord.data.sources.phrases import speakers


def test_each_speaker_is_the_same_however_many_there_are_and_more_continues_less() -> None:
    many, few = speakers(5, 20), speakers(3, 10)
    assert list(many) == [f"speaker-{number}" for number in range(5)]
    for name, text in few.items():
        assert many[name].startswith(text)
        assert text.count("\n") == 10


def test_speakers_differ_in_words_and_spelling() -> None:
    texts = speakers(10, 200)
    words = {name: Counter(text.lower().split()) for name, text in texts.items()}
    assert len({counts.most_common(1)[0] for counts in words.values()}) > 5
    assert "the" in words["speaker-0"]
    assert "the" not in words["speaker-1"]  # writes th as d
    assert not {"h", "H"} & set(texts["speaker-4"])


def test_sentences_begin_large_and_end_in_a_mark() -> None:
    for text in speakers(10, 50).values():
        for line in text.splitlines():
            assert line[0].isupper()
            assert line[-1] in ".?"
