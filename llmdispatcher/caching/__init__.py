"""The response cache: answers that need not be asked for again."""

from .cache import AnswerCache, Inquiry
from .counts import CacheStats
from .key import Place, place
from .policy import ResponseCache

__all__ = ["AnswerCache", "CacheStats", "Inquiry", "Place", "ResponseCache", "place"]
