"""What is done beside the requests."""

import litellm
from celery import shared_task
from django.db.models import Count, Sum

from . import llm
from .models import Article, Case, ModelCall

PASSING = (litellm.RateLimitError, litellm.Timeout, litellm.ServiceUnavailableError, litellm.APIConnectionError)


@shared_task(bind=True, autoretry_for=PASSING, retry_backoff=True, retry_backoff_max=60, max_retries=3)
def process_case(self, case_id):
    """Summarize and classify a case."""
    case = Case.objects.get(pk=case_id)
    try:
        case.summary = llm.summarize(case)
        case.category, case.urgency = llm.classify(case)
    except litellm.BudgetExceededError:
        case.state = "no money"
    except litellm.BadRequestError as error:
        case.state = "refused"
        case.summary = error.message[:200]
    else:
        case.state = "ready"
    case.save()
    return case.as_dict()


@shared_task
def index_articles():
    """Make the vectors of articles that have none."""
    articles = [article for article in Article.objects.order_by("pk") if not article.vector]
    if not articles:
        return 0
    for article, vector in zip(articles, llm.vectors([f"{article.title}\n{article.body}" for article in articles]), strict=True):
        article.vector = vector
        article.save()
    return len(articles)


@shared_task
def begin_budgets_anew():
    llm.budgets().begin_anew()


@shared_task
def report_spending():
    """What each customer has cost."""
    rows = ModelCall.objects.values("customer").annotate(calls=Count("id"), tokens=Sum("tokens"), cost=Sum("cost"))
    return sorted(rows, key=lambda row: row["customer"])
