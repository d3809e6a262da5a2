"""The pages of the desk, as JSON."""

import json
from functools import wraps

import litellm
from django.http import JsonResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from . import llm, tasks
from .models import Article, Case, ModelCall

ORDERS = {"4711": "on its way, with you on Friday", "4712": "waits for a part"}


def _refused(status, error):
    return JsonResponse({"error": type(error).__name__, "message": str(error)}, status=status)


def tells_errors(view):
    """Answer LiteLLM's exceptions with the status that fits."""

    @wraps(view)
    def wrapped(request, *args, **kwargs):
        try:
            return view(request, *args, **kwargs)
        except litellm.BudgetExceededError as error:
            return _refused(402, error)
        except litellm.ContextWindowExceededError as error:
            return _refused(413, error)
        except litellm.ContentPolicyViolationError as error:
            return _refused(422, error)
        except litellm.BadRequestError as error:
            return _refused(400, error)
        except litellm.AuthenticationError as error:
            return _refused(500, error)
        except litellm.RateLimitError as error:
            return _refused(429, error)
        except (litellm.Timeout, litellm.APIConnectionError, litellm.InternalServerError, litellm.ServiceUnavailableError) as error:
            return _refused(503, error)

    return wrapped


@csrf_exempt
@require_POST
@tells_errors
def ask(request):
    asked = json.loads(request.body)
    response = llm.ask(asked["customer"], asked["text"], purpose="question", max_tokens=300)
    return JsonResponse(
        {
            "answer": response.choices[0].message.content,
            "model": response.model,
            "tokens": response.usage.total_tokens,
            "cost": response._hidden_params["response_cost"],
        }
    )


@csrf_exempt
@require_POST
@tells_errors
def stream(request):
    asked = json.loads(request.body)
    pieces = llm.ask_streaming(asked["customer"], asked["text"], purpose="chat")
    first = next(pieces, "")

    def body():
        yield first
        yield from pieces

    return StreamingHttpResponse(body(), content_type="text/plain; charset=utf-8")


@csrf_exempt
@require_POST
@tells_errors
def order(request):
    asked = json.loads(request.body)
    answer = llm.answer_with_tools(asked["customer"], asked["text"], lambda number: ORDERS.get(number, "unknown"))
    return JsonResponse({"answer": answer})


@csrf_exempt
@require_POST
def new_case(request):
    asked = json.loads(request.body)
    case = Case.objects.create(customer=asked["customer"], subject=asked["subject"], body=asked["body"])
    tasks.process_case.delay(case.pk)
    return JsonResponse(case.as_dict(), status=201)


@require_GET
def case(request, pk):
    return JsonResponse(Case.objects.get(pk=pk).as_dict())


@require_GET
@tells_errors
def search(request):
    """The article whose vector is nearest to the question's."""
    [asked] = llm.vectors([request.GET["q"]])
    nearness = {
        article.title: sum(one * other for one, other in zip(asked, article.vector, strict=True))
        for article in Article.objects.exclude(vector=[])
    }
    return JsonResponse({"titles": sorted(nearness, key=nearness.get, reverse=True)[:3]})


@require_GET
def budget(request, customer):
    return JsonResponse(llm.budgets().state(customer))


@require_GET
def calls(request):
    rows = ModelCall.objects.order_by("pk").values("purpose", "group", "deployment", "model", "status", "error", "stream")
    return JsonResponse({"calls": list(rows)})


@require_GET
def estimate(request):
    tokens, dollars = llm.estimate(request.GET["text"])
    return JsonResponse({"tokens": tokens, "dollars": dollars})
