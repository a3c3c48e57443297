"""How good a ranking is: the measures of information retrieval, for one question.

Each takes the ranks, counted from 1, that the relevant documents have, without those that were not found; of several
questions the mean counts. All are from 0 to 1, and none looks beyond rank k.
"""

from __future__ import annotations

import math
from collections.abc import Collection


def recall_at(k: int, ranks: Collection[int], relevant: int) -> float:
    """The share of the relevant documents, of which there are so many, that are among the first k.

    Manning, Raghavan, Schütze, "Introduction to Information Retrieval" (2008), section 8.3.
    """
    return sum(rank <= k for rank in ranks) / relevant


def reciprocal_rank_at(k: int, ranks: Collection[int]) -> float:
    """1 over the rank of the first relevant document, 0 where none is among the first k; its mean is the MRR.

    Voorhees, "The TREC-8 Question Answering Track Report" (1999).
    """
    best = min(ranks, default=k + 1)
    return 1 / best if best <= k else 0.0


def ndcg_at(k: int, ranks: Collection[int], relevant: int) -> float:
    """The discounted cumulative gain over that of the best ranking, where a document is relevant or is not.

    ``DCG = sum over the relevant of 1 / log2(rank + 1)``; the best ranking has them all first. Järvelin, Kekäläinen,
    "Cumulated gain-based evaluation of IR techniques" (2002), with the discount of Burges et al. (2005).
    """
    best = math.fsum(map(_discount, range(1, min(k, relevant) + 1)))
    return math.fsum(_discount(rank) for rank in ranks if rank <= k) / best


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)
