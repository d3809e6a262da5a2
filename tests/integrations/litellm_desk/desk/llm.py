"""All that the desk knows of models: deployments, fallbacks, budgets of customers, and the few calls that it makes."""

import json
import os
import threading
from functools import cache

import litellm
from django.conf import settings
from litellm import BudgetManager, Router, completion_cost, token_counter
from litellm.exceptions import BudgetExceededError

litellm.drop_params = True
litellm.telemetry = False
litellm.suppress_debug_info = True
litellm.max_budget = settings.LLM_PROCESS_BUDGET

SYSTEM = "You work at the support desk of a shop for bicycles. Be brief and friendly."

CATEGORY = {
    "type": "json_schema",
    "json_schema": {
        "name": "category",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {
                "category": {"type": "string", "enum": ["delivery", "repair", "payment", "other"]},
                "urgency": {"type": "integer"},
            },
            "required": ["category", "urgency"],
            "additionalProperties": False,
        },
    },
}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "order_status",
            "description": "Where an order is now.",
            "parameters": {
                "type": "object",
                "properties": {"number": {"type": "string", "description": "The number of the order"}},
                "required": ["number"],
            },
        },
    }
]


def model_list():
    """The deployments. Two share the calls of "smart"; the others are for those that these cannot answer."""
    return [
        {
            "model_name": "smart",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": "os.environ/DESK_PRIMARY_KEY",
                "api_base": os.environ["DESK_PRIMARY"],
                "rpm": 600,
                "tpm": 200_000,
            },
            "model_info": {"id": "primary"},
        },
        {
            "model_name": "smart",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": "os.environ/DESK_PRIMARY_KEY",
                "api_base": os.environ["DESK_SECOND"],
                "rpm": 60,
                "tpm": 20_000,
                "tags": ["eu"],
            },
            "model_info": {"id": "second"},
        },
        {
            "model_name": "backup",
            "litellm_params": {
                "model": "anthropic/claude-haiku-4-5",
                "api_key": "os.environ/DESK_BACKUP_KEY",
                "api_base": os.environ["DESK_BACKUP"],
                "max_tokens": 500,
            },
            "model_info": {"id": "backup"},
        },
        {
            "model_name": "long",
            "litellm_params": {
                "model": "gemini/gemini-2.5-flash",
                "api_key": "os.environ/DESK_LONG_KEY",
                "api_base": os.environ["DESK_LONG"],
            },
            "model_info": {"id": "long"},
        },
        {
            "model_name": "vectors",
            "litellm_params": {
                "model": "openai/text-embedding-3-small",
                "api_key": "os.environ/DESK_BACKUP_KEY",
                "api_base": os.environ["DESK_VECTORS"],
            },
            "model_info": {"id": "vectors"},
        },
    ]


@cache
def router():
    """One router for the process, made when it is first needed."""
    return Router(
        model_list=model_list(),
        routing_strategy="simple-shuffle",
        num_retries=settings.LLM_RETRIES,
        timeout=settings.LLM_TIMEOUT,
        allowed_fails=1,
        cooldown_time=settings.LLM_COOLDOWN,
        retry_after=0,
        fallbacks=[{"default": ["backup"]}, {"summaries": ["backup"]}],
        context_window_fallbacks=[{"default": ["long"]}, {"backup": ["long"]}],
        content_policy_fallbacks=[{"default": ["long"]}],
        model_group_alias={"default": "smart", "summaries": "smart"},
        set_verbose=False,
    )


class CustomerBudgets:
    """What each customer may cost us in a month."""

    def __init__(self):
        self._manager = BudgetManager(project_name="desk", client_type="local")
        self._lock = threading.Lock()

    def check(self, customer, messages):
        """Raise where the customer has no money left for these messages."""
        with self._lock:
            if not self._manager.is_valid_user(customer):
                self._manager.create_budget(total_budget=settings.LLM_CUSTOMER_BUDGET, user=customer, duration="monthly")
            allowed = self._manager.get_total_budget(customer)
            projected = self._manager.projected_cost("openai/gpt-4o-mini", messages, customer)
        if projected > allowed:
            raise BudgetExceededError(current_cost=projected, max_budget=allowed)

    def spend(self, customer, response):
        with self._lock:
            self._manager.update_cost(user=customer, completion_obj=response)

    def state(self, customer):
        if not self._manager.is_valid_user(customer):
            return {"spent": 0.0, "total": settings.LLM_CUSTOMER_BUDGET}
        return {
            "spent": self._manager.get_current_cost(customer),
            "total": self._manager.get_total_budget(customer),
        }

    def begin_anew(self):
        self._manager.update_budget_all_users()


@cache
def budgets():
    return CustomerBudgets()


def conversation(text):
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]


def ask(customer, text, *, purpose, model="default", **options):
    """Ask within the customer's budget; returns LiteLLM's response."""
    messages = conversation(text)
    budgets().check(customer, messages)
    response = router().completion(
        model=model,
        messages=messages,
        metadata={"customer": customer, "purpose": purpose, "tags": [purpose]},
        user=customer,
        **options,
    )
    budgets().spend(customer, response)
    return response


def ask_streaming(customer, text, *, purpose):
    """Yield the pieces of an answer."""
    messages = conversation(text)
    budgets().check(customer, messages)
    chunks = []
    stream = router().completion(
        model="default",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        metadata={"customer": customer, "purpose": purpose},
        user=customer,
    )
    for chunk in stream:
        chunks.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content
    budgets().spend(customer, litellm.stream_chunk_builder(chunks, messages=messages))


def summarize(case):
    response = ask(
        case.customer,
        f"Summarize in one sentence: {case.subject}\n\n{case.body}",
        purpose="summary",
        model="summaries",
        max_tokens=120,
        temperature=0.2,
    )
    return response.choices[0].message.content


def classify(case):
    """The category of a case and how urgent it is, 0 to 3."""
    response = ask(case.customer, f"Classify: {case.subject}", purpose="category", response_format=CATEGORY)
    found = json.loads(response["choices"][0]["message"]["content"])
    return found["category"], found["urgency"]


def answer_with_tools(customer, text, order_status):
    """Answer, looking up orders where the model asks for it."""
    messages = conversation(text)
    budgets().check(customer, messages)
    metadata = {"customer": customer, "purpose": "order"}
    for _ in range(4):
        response = router().completion(model="default", messages=messages, tools=TOOLS, tool_choice="auto", metadata=metadata)
        budgets().spend(customer, response)
        message = response.choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump())
        for call in message.tool_calls:
            arguments = json.loads(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": order_status(**arguments)})
    return ""


def vectors(texts):
    response = router().embedding(model="vectors", input=texts, metadata={"purpose": "search"})
    return [row["embedding"] for row in response.data]


def estimate(text):
    """Tokens and US dollars of a question, before it is asked."""
    tokens = token_counter(model="gpt-4o-mini", messages=conversation(text))
    return tokens, completion_cost(model="gpt-4o-mini", prompt=text, completion="")
