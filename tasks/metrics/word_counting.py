"""A classifier that counts pieces of words: what one could have in ten seconds, without a language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Numbers in its table (pieces times labels): 0.8 GB in float64. Only with many labels are rare pieces left out.
MOST = 100_000_000


def word_counting(train: Iterable[tuple[str, str]], texts: Sequence[str]) -> list[str]:
    """The label of each text by multinomial naive Bayes over runs of 2 to 4 characters; ``train`` are (text, label) pairs.

    Characters, since Korean words carry particles and endings. Of scikit-learn, with its defaults. Texts without a run that
    training has get the most frequent label.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    learnt, labels = zip(*train)
    # A letter beside the text, or one of a single character would have no run.
    counter = CountVectorizer(analyzer="char", ngram_range=(2, 4), max_features=MOST // len(set(labels)))
    counts = counter.fit_transform(f" {text} " for text in learnt)
    return MultinomialNB().fit(counts, labels).predict(counter.transform(f" {text} " for text in texts)).tolist()
