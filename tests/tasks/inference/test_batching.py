"""Batches by length, and padding on either side."""

from __future__ import annotations

import torch

from tasks.inference.batching import batches_by_length, pad


def test_the_longest_come_first_and_equals_keep_their_order():
    assert list(batches_by_length([3, 9, 3, 7, 9], batch_size=2, max_tokens=1000)) == [[1, 4], [3, 0], [2]]


def test_a_batch_counts_its_padding_against_the_limit_of_tokens():
    # 10 + 10 would be 20, over the limit; 5 and 4 cost two times 5, which is the limit.
    assert list(batches_by_length([4, 10, 5], batch_size=8, max_tokens=10)) == [[1], [2, 0]]


def test_a_sequence_over_the_limit_is_a_batch_of_its_own():
    assert list(batches_by_length([50, 1, 60], batch_size=8, max_tokens=10)) == [[2], [0], [1]]


def test_nothing_gives_no_batch():
    assert list(batches_by_length([], batch_size=4, max_tokens=10)) == []


def test_padding_on_the_left_and_on_the_right():
    ids, mask = pad([[5, 6], [7, 8, 9]], 3, "left", torch.device("cpu"))
    assert ids.tolist() == [[3, 5, 6], [7, 8, 9]]
    assert mask.tolist() == [[0, 1, 1], [1, 1, 1]]
    ids, mask = pad([[5, 6], [7, 8, 9]], 3, "right", torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 3], [7, 8, 9]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_mask_goes_by_place_and_not_by_value():
    # A token equal to pad is text where it stands in the sequence: many models pad with eos.
    _, mask = pad([[3, 3], [3]], 3, "right", torch.device("cpu"))
    assert mask.tolist() == [[1, 1], [1, 0]]
