"""Document frequencies of n-grams for CIDEr: counting, saving and loading."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError
from captioner.metrics.ngrams import MAX_ORDER, Corpus, Ints


@dataclass(frozen=True, slots=True, eq=False)
class DocumentFrequency:
    """The number of images of a corpus whose references contain an n-gram.

    Attributes:
        num_images: Images in that corpus.
        images: The number of images by n-gram, its words joined by one blank.
        name: Name of the corpus, for the signature of scores.
    """

    num_images: int
    images: Mapping[str, int]
    name: str

    def of(self, corpus: Corpus, where: Ints, order: int) -> NDArray[np.float64]:
        """`[num_ngrams]`: frequencies of the n-grams of `order` words at `where` in the corpus; 0 if unknown."""
        rows = corpus.ids[where[:, None] + np.arange(order)].tolist()
        ngrams = (" ".join([corpus.vocabulary[word] for word in row]) for row in rows)
        return np.fromiter((self.images.get(ngram, 0) for ngram in ngrams), np.float64, len(where))


def document_frequency(references: Iterable[Sequence[str]], name: str) -> DocumentFrequency:
    """Count the n-grams of the tokenized references of each image."""
    images: Counter[str] = Counter()
    num_images = 0
    for of_image in references:
        num_images += 1
        split = [reference.split() for reference in of_image]
        images.update(
            {
                " ".join(words[begin : begin + order])
                for words in split
                for order in range(1, MAX_ORDER + 1)
                for begin in range(len(words) - order + 1)
            }
        )
    return DocumentFrequency(num_images, images, name)


def save_document_frequency(frequency: DocumentFrequency, path: Path) -> None:
    """Write as JSON, compressed if the name ends in `.gz`."""
    text = json.dumps(
        {"num_images": frequency.num_images, "images": dict(frequency.images)}, ensure_ascii=False
    )
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def load_document_frequency(path: Path) -> DocumentFrequency:
    """Read a file of `save_document_frequency`; the file's name becomes the name.

    Raises:
        DataError: The file is missing or of another format.
    """
    try:
        data = path.read_bytes()
        content = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        num_images, images = content["num_images"], content["images"]
        if not isinstance(num_images, int) or not isinstance(images, dict):
            raise TypeError
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a file of document frequencies (JSON of num_images and images): "
            "write one with save_frequency=FILE."
        ) from error
    return DocumentFrequency(num_images, images, path.name)
