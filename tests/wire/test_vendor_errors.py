"""What vendors' documented refusals are taken for: the kind decides who is asked next, so each is told from its neighbours."""

import json

from llmdispatcher import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
    VendorUnavailable,
)
from llmdispatcher.wire import fault
from llmdispatcher.wire.errors import fault_inside, tells

from ..cases import each


def told(message, code=None, kind=None, **more):
    """An error object in OpenAI's shape."""
    return {"error": {"message": message, "type": kind, "code": code, **more}}


def flat(message, code):
    """xAI's shape."""
    return {"code": code, "error": message}


def google(status, message, reason=None):
    """An error of Google's, with the reason in its details."""
    return {"error": {"code": 0, "message": message, "status": status, "details": [{"reason": reason}] if reason else []}}


def cloudflare(code, message="no"):
    """One of a list of errors."""
    return {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}


def minimax(code, message):
    """MiniMax's own shape."""
    return {"choices": None, "base_resp": {"status_code": code, "status_msg": message}}


OVERFLOW = {
    "a context of a model": (400, told("Requested 250000 tokens exceeds model's context of 200000")),
    "tokens of a prompt": (400, told("Your prompt contains 130000 tokens but the limit is 128000")),
    "a limit of tokens": (400, told("Token limit exceeded: 130000 > 128000")),
    "allowed tokens": (400, told("Request exceeds the maximum allowed tokens (131072)")),
    "at most": (400, told("This model supports at most 8192 input tokens")),
    "messages that have": (400, told("Messages have 130000 tokens, which exceeds the max limit of 128000 tokens.")),
    "a long message": (400, told("The message you submitted was too long, please reload the conversation.")),
    "shorten": (400, told("Please shorten your input")),
    "in Chinese": (400, told("\u8f93\u5165\u957f\u5ea6\u8d85\u8fc7\u6a21\u578b\u6700\u5927\u9650\u5236")),
    "in Chinese, a context": (400, told("\u4e0a\u4e0b\u6587\u957f\u5ea6\u8d85\u9650")),
    "OpenAI, a message": (400, told("Invalid 'messages[1].content': string too long.", "string_above_max_length")),
    "bytes": (400, told("too many total text bytes: 10000000 > 9000000")),
    "a message": (400, told("Total message token length exceed model limit")),
    "pictures and text": (400, told("total tokens of image and text exceed max message tokens")),
    "a prompt": (400, told("Please reduce your prompt; or completion length.")),
    "TGI, old": (400, told("tokens + max_new_tokens must be <= 8193")),
    "a context": (400, told("token count of messages exceeds context limit")),
    "a request": (400, told("The request is too large: 70000 tokens, the limit is 65536 tokens")),
    "in an error": (400, {"error": {"error": {"message": "The maximum context length is 5"}}}),
    "in two errors": (400, {"error": {"error": {"error": {"message": "maximum context length is 5", "code": "x"}}}}),
    "OpenAI": (400, told("This model's maximum context length is 8192 tokens.", "context_length_exceeded")),
    "OpenAI, a text": (400, told("Invalid 'input': string too long.", "string_above_max_length")),
    "OpenAI, Responses": (400, told("Your input exceeds the context window of this model.")),
    "Anthropic": (400, told("prompt is too long: 210000 tokens > 200000 maximum", None, "invalid_request_error")),
    "Gemini": (400, told("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).")),
    "Vertex": (400, told("Unable to submit request because the input token count is 40000 but model only supports up to 32767.")),
    "xAI": (400, flat("This model's maximum prompt length is 131072 but the request contains 200000 tokens.", "x")),
    "Groq": (400, told("Please reduce the length of the messages or completion.")),
    "Cerebras": (400, told("Please reduce the length of the messages or completion. Current length is 69553 while limit is 65536")),
    "Moonshot": (400, told("Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)")),
    "Moonshot, input": (400, told("Input token length too long", None, "invalid_request_error")),
    "Mistral": (
        400,
        {"object": "error", "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"},
    ),
    "DashScope": (400, told("<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 204800]")),
    "Z.ai": (400, told("no words", "1261")),
    "MiniMax": (400, told("invalid params, context window exceeds limit (2013)")),
    "MiniMax, own shape": (200, minimax(1039, "token limit")),
    "Qianfan": (400, told("Prompt tokens too long", "tokens_too_long")),
    "Copilot": (400, told("prompt token count of 140000 exceeds the limit of 128000", "model_max_prompt_tokens_exceeded")),
    "Copilot, by words": (400, told("prompt token count of 140000 exceeds the limit of 128000")),
    "GitHub Models": (413, told("Request body too large for gpt-4o model. Max size: 8000 tokens.", "tokens_limit_reached")),
    "Bedrock": (400, {"message": "Input is too long for requested model."}),
    "Bedrock, Nova": (400, {"message": "Input Tokens Exceeded: Number of input tokens exceeds maximum length"}),
    "Cohere": (400, {"message": "too many tokens: total number of tokens in the prompt exceeds the limit of 4081"}),
    "Together": (403, told("Input token count + max_tokens parameter must be less than the context length of the model")),
    "TGI": (
        422,
        {"error": "Input validation error: `inputs` must have less than 1024 tokens. Given: 2000", "error_type": "validation"},
    ),
    "vLLM": (
        400,
        {"object": "error", "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."},
    ),
    "SGLang": (
        400,
        {"object": "error", "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens)."},
    ),
    "llama.cpp": (400, told("the request exceeds the available context size", 400, "exceed_context_size_error")),
    "LM Studio": (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length"}),
    "Ollama": (400, {"error": "prompt too long; exceeded max context length by 20 tokens"}),
    "SambaNova": (400, told("The provided prompt is 5000 tokens long, but the maximum supported sequence length is just 4096!")),
    "Nvidia": (400, {"object": "error", "message": "Input length 5000 exceeds maximum allowed token size 4096"}),
    "SiliconFlow": (
        400,
        {"code": 20015, "message": "length of prompt_tokens (9000) must be less than max_seq_len (8192).", "data": None},
    ),
    "OpenRouter": (400, told("no", 400, metadata={"error_type": "context_length_exceeded"})),
    "Yandex": (400, told("Error in session internal_id=x: number of input tokens must be no more than 8192, got 9000")),
    "Oracle": (400, {"code": "400", "message": "Please provide prompt less than 16000 tokens"}),
    "Qianfan, old": (200, {"error_code": 336007, "error_msg": "the max input characters is 2000"}),
    "watsonx": (400, told("the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model")),
    "a gateway's 500": (500, told("This model's maximum context length is 8192 tokens.")),
}
POLICY = {
    "terms": (403, told("This request violates our Terms of Service")),
    "harm": (400, told("Request blocked: harmful content detected")),
    "a reason of Google's": (400, told("Content blocked due to PROHIBITED_CONTENT")),
    "unsafe": (400, told("x", "unsafe_content")),
    "a moderation": (400, told("x", "input_moderation_failed")),
    "OpenAI, cyber": (400, told("x", "cyber_policy_violation")),
    "guardrails": (446, told("guardrails failed")),
    "a filter": (400, told("The request was rejected by NSFW filter")),
    "in Chinese": (400, told("\u5185\u5bb9\u5ba1\u6838\u4e0d\u901a\u8fc7")),
    "Bedrock's guardrail": (400, told("x", "guardrail_intervened")),
    "Model Armor": (400, told("The request was blocked by Model Armor")),
    "Model Armor, code": (400, told("x", "MODEL_ARMOR")),
    "OpenAI": (400, told("Your request was rejected as a result of our safety system.", "content_policy_violation")),
    "OpenAI, flagged": (
        400,
        told("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", "invalid_prompt"),
    ),
    "OpenAI, pictures": (400, told("no", "moderation_blocked")),
    "Azure": (400, told("no", "content_filter", innererror={"code": "ResponsibleAIPolicyViolation"})),
    "Anthropic": (400, told("Output blocked by content filtering policy", None, "invalid_request_error")),
    "xAI": (403, flat("Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO", "permission-denied")),
    "OpenRouter": (
        403,
        told(
            "openai/gpt requires moderation. Your input was flagged", 403, metadata={"reasons": ["violence"], "flagged_input": "x"}
        ),
    ),
    "OpenRouter, by the field": (403, told("Forbidden", 403, metadata={"reasons": ["violence"], "flagged_input": "x"})),
    "Moonshot": (400, told("The request was rejected because it was considered high risk", None, "content_filter")),
    "DashScope": (400, told("Input data may contain inappropriate content.", "data_inspection_failed")),
    "DashScope, native": (400, {"code": "DataInspectionFailed", "message": "no", "request_id": "r"}),
    "DashScope, in words": (
        400,
        told("<400> InternalError.Algo.DataInspectionFailed: Output data may contain inappropriate content."),
    ),
    "Z.ai": (400, told("no words", "1301")),
    "Z.ai, flat": (400, {"code": 1301, "msg": "no words", "success": False}),
    "MiniMax, prompt": (422, told("input new_sensitive (1026)", None, "unprocessable_entity_error")),
    "MiniMax, answer": (200, minimax(1027, "output new_sensitive")),
    "Ark": (400, told("no", "OutputTextSensitiveContentDetected")),
    "Ark, picture": (400, told("no", "InputImageSensitiveContentDetected.PolicyViolation")),
    "Ark, risk": (400, told("no", "InputTextRiskDetection")),
    "Xiaomi": (421, told("content filter")),
    "StepFun": (451, told("no")),
    "new-api": (400, told("no", "sensitive_words_detected")),
    "DeepSeek": (400, told("Content Exists Risk", "invalid_request_error")),
    "Gemini": (400, told("The prompt contains text that violates the Prohibited Use policy")),
}
SPENT = {
    "watsonx": (403, {"errors": [{"code": "token_quota_reached", "message": "no more for this plan"}], "status_code": 403}),
    "watsonx, in words": (403, {"errors": [{"code": "x", "message": "This month's token quota is reached"}], "status_code": 403}),
    "a low balance": (400, told("Account balance too low")),
    "a subscription": (403, told("Subscription expired")),
    "a trial": (403, told("Your free trial has ended")),
    "no credits": (429, told("No credits left")),
    "top up": (403, told("Please top up your account")),
    "credits": (400, told("Credits exhausted")),
    "an allowance": (429, told("You have exhausted your monthly usage allowance")),
    "a balance, as a detail": (403, {"detail": "User has exhausted balance"}),
    "LiteLLM, crossed": (400, told("Crossed budget for Key")),
    "a plan's hours": (429, told("your current token plan 5-hour limit reached")),
    "a plan in Chinese": (403, told("\u5957\u9910\u5df2\u7528\u5b8c")),
    "a limit of billing": (429, told("x", "billing_limit_reached")),
    "a quota's code": (403, told("x", "quota_limit_reached")),
    "OpenRouter, a key": (403, told("Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys")),
    "Kimi Code, a week": (403, told("You've reached your weekly (7-day) usage limit. Your quota will reset")),
    "LiteLLM": (400, told("Budget has been exceeded! Current cost: 1.2, Max budget: 1.0")),
    "LiteLLM, a user": (429, told("ExceededBudget: User=x over budget. Spend=1.0, Budget=0.5")),
    "a month's budget": (403, told("Your account has exceeded its monthly budget")),
    "LiteLLM, type": (400, told("x", None, "budget_exceeded")),
    "new-api, a user": (403, told("\u7528\u6237\u989d\u5ea6\u4e0d\u8db3, \u5269\u4f59\u989d\u5ea6: -0.01")),
    "new-api, a token": (401, told("\u8be5\u4ee4\u724c\u989d\u5ea6\u5df2\u7528\u5c3d")),
    "Cohere, trial": (429, told("Trial key is limited to 1000 API calls / month")),
    "prepaid": (400, told("Your prepaid credits have been exhausted")),
    "free credits": (429, told("You've exceeded your free credits")),
    "an organization": (400, told("This organization has reached its usage limit")),
    "OpenAI": (429, told("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota")),
    "OpenAI, a subscription": (429, {"error": {"type": "usage_limit_reached", "message": "no", "resets_in_seconds": 60}}),
    "Anthropic": (400, told("Your credit balance is too low to access the Anthropic API.", None, "invalid_request_error")),
    "Anthropic, its user's limit": (
        400,
        told("You have reached your specified API usage limits. You will regain access on 2026-12-01."),
    ),
    "Gemini": (
        429,
        google("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted. Please go to AI Studio to manage your project."),
    ),
    "Vertex": (403, google("PERMISSION_DENIED", "This API method requires billing to be enabled.", "BILLING_DISABLED")),
    "xAI, new": (403, flat("Your newly created team doesn't have any credits or licenses yet.", "permission-denied")),
    "xAI, spent": (
        429,
        flat("Your team has either used all available credits or reached its monthly spending limit.", "exhausted"),
    ),
    "xAI, subscription": (403, flat("You have run out of credits or need a Grok subscription.", "x")),
    "OpenRouter": (402, told("This request requires more credits, or fewer max_tokens.", 402)),
    "OpenRouter, free models": (429, told("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 requests", 429)),
    "Hugging Face": (402, {"error": "You have exceeded your monthly included credits for Inference Providers."}),
    "DeepSeek": (402, told("Insufficient Balance", "invalid_request_error", "unknown_error")),
    "Moonshot": (429, told("Your account org-0 is suspended", None, "exceeded_current_quota_error")),
    "Kimi Code": (403, told("You've reached your usage limit for this billing cycle.")),
    "DashScope": (400, told("Access denied, please make sure your account is in good standing.", "Arrearage", "Arrearage")),
    "DashScope, free tier": (403, told("The free tier of the model has been exhausted.", "AllocationQuota.FreeTierOnly")),
    "DashScope, free quota": (429, {"code": "Throttling.AllocationQuota", "message": "Free allocated quota exceeded."}),
    "Z.ai": (429, told("no words", "1113")),
    "Z.ai, plan": (429, told("no words", 1310)),
    "Z.ai, in Chinese": (429, told("\u60a8\u7684\u8d26\u6237\u5df2\u6b20\u8d39\uff0c\u8bf7\u5145\u503c\u540e\u91cd\u8bd5")),
    "MiniMax": (200, minimax(1008, "insufficient balance")),
    "MiniMax, in words": (429, told("no words (1008)", None, "rate_limit_error")),
    "Ark": (403, told("The request failed because your account has an overdue balance.", "AccountOverdueError")),
    "Ark, its user's limit": (429, told("no", "SetLimitExceeded")),
    "Ark, free trial": (429, told("no", "QuotaExceeded")),
    "Cloudflare": (429, cloudflare(3036)),
    "Cloudflare, in words": (429, cloudflare(1, "you have used up your daily free allocation of 10,000 neurons")),
    "Bedrock": (429, {"message": "Too many tokens per day, please wait before trying again."}),
    "GitHub Models": (
        429,
        told("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 32400 seconds before retrying."),
    ),
    "SiliconFlow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None}),
    "Novita": (403, {"code": 403, "reason": "NOT_ENOUGH_BALANCE", "message": "not enough balance"}),
    "new-api": (403, told("no", "insufficient_user_quota")),
    "Fireworks": (412, told("Account x is suspended, possibly due to reaching the monthly spending limit")),
    "Bedrock, no card": (403, {"message": "INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided."}),
    "Ollama": (429, {"error": "you've reached your hourly usage limit, please upgrade to continue"}),
}
CAPACITY = {
    "Nvidia": (400, {"title": "Bad Request", "detail": "Function id 'x': DEGRADED function cannot be invoked"}),
    "a model that loads": (400, told("Model is loading")),
    "unavailable for now": (400, told("service temporarily unavailable")),
    "Envoy": (400, told("upstream connect error or disconnect/reset before headers")),
    "new-api": (400, told("No available channel for model gpt-4o")),
    "new-api, in Chinese": (400, told("\u5f53\u524d\u5206\u7ec4\u4e0a\u6e38\u8d1f\u8f7d\u5df2\u9971\u548c")),
    "Bedrock, a stream": (200, {"serviceUnavailableException": {"message": "x"}}),
    "Bedrock, its server": (200, {"internalServerException": {"message": "x"}}),
    "Bedrock, the model's stream": (200, {"modelStreamErrorException": {"message": "x", "originalStatusCode": 400}}),
    "Anthropic": (529, told("Overloaded", None, "overloaded_error")),
    "Moonshot": (429, told("The engine is currently overloaded, please try again later", None, "engine_overloaded_error")),
    "Groq": (498, told("no", "capacity_exceeded")),
    "Bedrock, the model": (424, {"message": "The model returned the following errors"}),
    "Bedrock, not ready": (429, {"__type": "ModelNotReadyException", "message": "no"}),
    "TGI": (424, {"error": "Request failed during generation", "error_type": "generation"}),
    "Cloudflare": (429, cloudflare(3040)),
    "Gemini Code Assist": (429, google("RESOURCE_EXHAUSTED", "No capacity available", "MODEL_CAPACITY_EXHAUSTED")),
    "Ark": (429, told("no", "ServerOverloaded")),
    "Z.ai": (400, told("no words", "1234")),
    "MiniMax": (200, minimax(1024, "internal error")),
    "OpenRouter": (502, told("no", 502, metadata={"error_type": "provider_unavailable"})),
}
LIMITED = {
    "Apigee": (200, {"fault": {"faultstring": "Rate limit quota violation. Quota limit exceeded.", "detail": {"errorcode": "p"}}}),
    "Apigee, a spike": (200, {"fault": {"faultstring": "Spike arrest violation. Allowed rate : 10ps"}}),
    "LiteLLM": (400, told("RateLimitError: requests per minute")),
    "a quota of a minute": (403, told("Quota exceeded: requests per minute")),
    "a plan's rate": (429, told("Free plan rate limit reached")),
    "too quickly": (403, told("You are sending requests too quickly")),
    "a rate that grows": (400, told("request rate increased too quickly")),
    "a frequency": (403, told("\u8bf7\u6c42\u9891\u7387\u8d85\u9650")),
    "Bedrock, an event": (200, {"throttlingException": {"message": "x"}}),
    "Bedrock, its service": (400, {"__type": "com.amazon.coral.service#ThrottlingException", "message": "x"}),
    "Hunyuan, a family": (200, {"Response": {"Error": {"Code": "RequestLimitExceeded.UinLimitExceeded", "Message": "x"}}}),
    "a status as a float": (200, told("x", 429.0)),
    "a status in words": (200, told("x", status="429 Too Many Requests")),
    "a status by another name": (200, told("x", httpStatusCode=429)),
    "SiliconFlow": (403, told("RPM limit exceeded. Please complete identity verification to lift the restriction.")),
    "tokens of a minute": (403, told("TPM limit reached")),
    "a rate": (400, told("rate limit exceeded")),
    "calls at once": (400, told("Concurrency limit exceeded for account")),
    "DashScope, Throttling": (400, {"code": "Throttling", "message": "Rate limit"}),
    "too many at once": (400, told("Too many concurrent requests")),
    "in Chinese": (400, told("\u8bf7\u6c42\u8fc7\u4e8e\u9891\u7e41")),
    "Bedrock, a stream": (200, {"message": "Too many tokens, please wait before trying again."}),
    "Cohere, trial of a minute": (429, told("Trial key is limited to 10 API calls / minute")),
    "OpenAI": (429, told("Rate limit reached for gpt-4o. Please try again in 2.5s.", "rate_limit_exceeded", "tokens")),
    "OpenAI, a rolling day": (
        429,
        told("Rate limit reached on requests per day (RPD): Limit 200, Used 200. Please try again in 7m12s."),
    ),
    "Groq, too large for a minute": (
        413,
        told("Request too large for model `m` on tokens per minute (TPM): Limit 6000, Requested 7500", "rate_limit_exceeded"),
    ),
    "Mistral, whose 1300 is no policy": (
        429,
        {"object": "error", "message": "Rate limit exceeded", "type": "rate_limited", "code": "1300"},
    ),
    "Moonshot": (
        429,
        told("request reached organization max RPM: 3, please try again after 1 seconds", None, "rate_limit_reached_error"),
    ),
    "DashScope": (429, {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded, please try again later."}),
    "Z.ai": (429, told("no words", "1302")),
    "MiniMax": (200, minimax(1002, "rate limit")),
    "Ark": (429, told("no", "RateLimitExceeded.EndpointTPMExceeded", "TooManyRequests")),
    "Bedrock": (429, {"message": "Too many tokens, please wait before trying again."}),
    "Bedrock, with status 400": (400, {"__type": "ServiceQuotaExceededException", "message": "no"}),
    "OpenRouter, in flight": (402, told("no", "in_flight_budget_exhausted")),
    "Gemini": (429, google("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details.")),
}
NO_KEY = {
    "none": (400, told("No API key provided")),
    "none, flat": (400, {"error": "Missing API key"}),
    "OpenAI, none": (400, told("You didn't provide an API key.")),
    "a header": (400, told("Authorization header is required")),
    "credentials": (400, told("Invalid authentication credentials")),
    "Bedrock": (400, {"__type": "UnrecognizedClientException", "message": "x"}),
    "AWS": (400, {"message": "The security token included in the request is expired"}),
    "Hunyuan": (200, {"Response": {"Error": {"Code": "AuthFailure.SecretIdNotFound", "Message": "x"}}}),
    "OAuth": (400, {"error": "invalid_token", "error_description": "The token expired"}),
    "DashScope, code": (400, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}),
    "OpenAI, country": (403, told("Country, region, or territory not supported", "unsupported_country_region_territory")),
    "Gemini, country": (400, google("FAILED_PRECONDITION", "User location is not supported for the API use.")),
    "Gemini, key": (400, google("INVALID_ARGUMENT", "no", "API_KEY_INVALID")),
    "Anthropic": (400, told("This organization has been disabled.", None, "invalid_request_error")),
    "xAI": (403, flat("Access to the chat endpoint is denied.", "permission-denied")),
    "Kimi Code": (403, told("Access terminated")),
    "Z.ai": (400, told("no words", "1002")),
    "MiniMax": (200, minimax(1004, "not authorized")),
    "MiniMax, key": (200, minimax(2049, "invalid api key")),
}
NO_MODEL = {
    "no such": (400, told("No such model: x")),
    "LiteLLM": (400, told("unknown provider for model x")),
    "by its code as words": (400, told("model_not_supported")),
    "not supported": (400, told("Model x-1 is not supported")),
    "Bedrock, its life": (404, {"message": "This model version has reached the end of its life."}),
    "in Chinese": (400, told("\u6a21\u578b x \u4e0d\u5b58\u5728")),
    "DeepSeek, short": (400, told("Model Not Exist", None, "invalid_request_error")),
    "Groq, gone": (400, told("The model `x-3.1` has been decommissioned and is no longer supported.", "model_decommissioned")),
    "gone, without a code": (400, told("The model `llama-3.1-8b` has been decommissioned")),
    "a dot in its name": (400, told("The model `llama-3.1-8b` does not exist or you do not have access to it.")),
    "Together": (400, told("Unable to access model x. Please visit the list of models", "model_not_available")),
    "Nvidia": (410, told("Model x has reached its end of life")),
    "Nvidia, no words": (410, told("Gone")),
    "of old": (400, told("The model has been deprecated")),
    "Z.ai": (400, told("no words", "1211")),
    "Ark": (404, told("no", "InvalidEndpointOrModel.NotFound")),
    "DashScope": (400, told("Model not exist.", "ModelNotFound")),
    "Copilot": (400, told("The requested model is not supported.", "model_not_supported")),
    "Cloudflare": (400, cloudflare(5007)),
    "Bedrock": (400, {"message": "The provided model identifier is invalid."}),
    "SiliconFlow": (400, {"code": 20012, "message": "no words", "data": None}),
}
MODELS_FAULT = {
    "JSON": (400, told("The model did not produce valid JSON")),
    "an output": (422, told("Model output could not be parsed")),
    "a call": (400, told("Model generated invalid tool call")),
    "llama.cpp, new": (500, told("Failed to parse input at pos 0: <tool_call>")),
    "Bedrock": (424, told("Model produced invalid sequence as part of ToolUse. Please refer to the troubleshooting guide.")),
    "llama.cpp": (500, told("Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]")),
    "Groq, a schema": (400, told("tool call validation failed: parameters for tool x did not match schema")),
    "Groq, a call": (400, told("no", "tool_use_failed", "invalid_request_error")),
    "Groq, JSON": (400, told("Failed to generate JSON. Please adjust your prompt.", "json_validate_failed")),
    "Groq, in words": (400, told("Failed to call a function. Please adjust your prompt.")),
    "Ollama": (500, {"error": "error parsing tool call: raw='{', err=unexpected end of JSON input"}),
}
BAD = {
    "OpenAI, a long user": (400, told("Invalid 'user': string too long. Expected maximum length 64.", "string_above_max_length")),
    "OpenAI, a long name": (400, told("Invalid 'tools[0].function.name': string too long.", "string_above_max_length")),
    "a limit of the answer": (400, told("max_tokens (40000) exceeds the maximum number of tokens 16384")),
    "content": (400, told("messages.1.content: null is not allowed")),
    "no model": (400, told("No model provided")),
    "a setting of a model": (400, told("With this model temperature is not supported")),
    "a thinking budget": (400, told("thinking budget exceeded; budget_tokens must be less than max_tokens")),
    "max_tokens": (400, told("max_tokens must be <= 8192")),
    "a parameter's name": (400, told("The model parameter is deprecated, use engine")),
    "a parameter of old": (400, told("temperature is deprecated for this model.")),
    "a model's parameter": (400, told("This model does not take max_tokens. max_tokens is deprecated")),
    "OpenAI": (400, told("Invalid type for 'messages': expected an array.", None, "invalid_request_error")),
    "OpenAI, an invalid prompt that is no policy": (400, told("Invalid prompt: messages[0] has no content.", "invalid_prompt")),
    "Anthropic, its limit of words": (400, told("max_tokens: 100000 > 8192, which is the maximum allowed number of output tokens")),
    "Gemini, bytes": (400, told("Request payload size exceeds the limit: 20971520 bytes.")),
    "OpenAI, a picture": (400, told("Input image exceeds the maximum size of 20 MB.", "image_too_large")),
    "FastAPI": (422, {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]}),
    "MiniMax": (400, told("invalid params, tool result's tool id not found (2013)")),
}
KINDS = {
    ContextWindowExceeded: OVERFLOW,
    ContentFiltered: POLICY,
    QuotaExceeded: SPENT,
    VendorUnavailable: CAPACITY,
    RateLimitError: LIMITED,
    AuthenticationError: NO_KEY,
    ModelNotFound: NO_MODEL,
    MalformedReply: MODELS_FAULT,
    InvalidRequest: BAD,
}
ROWS = [(kind, status, body) for kind, rows in KINDS.items() for status, body in rows.values()]


@each("kind, status, body", [*ROWS])
def test_a_documented_refusal_is_what_its_vendor_means(kind, status, body):
    """By its code, by its words where vendors hide one failure behind another's status, by its status; also inside a 200."""
    error = fault_inside(body) if status == 200 else fault(status, {}, json.dumps(body).encode())

    assert kind is type(error)


WRONG = {
    "FastAPI": {"detail": [{"loc": ["body", "messages"], "msg": "Field required", "type": "missing"}]},
    "pydantic": {"error": "2 validation errors for ChatCompletionRequest"},
    "OpenAI of old": {"error": {"message": "Unrecognized request argument supplied: foo"}},
    "OpenAI": {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model."}},
    "a gateway": {"object": "error", "message": "messages is a required property"},
}


@each("body", WRONG.values())
def test_a_wrong_request_is_told_as_one_also_inside_a_200(body):
    """No other key or vendor would take it, and the vendor is well."""
    error = fault_inside(body)

    assert (InvalidRequest, 400) == (type(error), error.status)


INSIDE = [(kind, body) for kind, status, body in ROWS if kind not in (InvalidRequest, MalformedReply) and status in (200, 400, 422)]


@each("kind, body", INSIDE)
def test_a_refusal_inside_a_200_is_the_same_and_gets_the_status_of_its_kind(kind, body):
    """A client of ours that reads it again must not take it for a server's failure."""
    error = fault_inside(body)

    assert (kind, kind is VendorUnavailable) == (type(error), error.status >= 500)


def test_a_bedrock_exception_is_named_in_a_header():
    """Its body has the words alone."""
    error = fault(400, {"x-amzn-errortype": "ServiceQuotaExceededException:http://internal.amazon.com"}, b'{"message": "no"}')

    assert (RateLimitError, "ServiceQuotaExceededException") == (type(error), error.code)


@each("message", ["Limit 6000, Requested 7500", "Request too large for m on tokens per min", "limit: 10 requested: 11"])
def test_what_is_too_large_for_a_minute_is_not_repeated_but_asked_elsewhere(message):
    """The next minute has no more room, another vendor may."""
    error = fault(429, {}, json.dumps(told(message)).encode())

    assert (RateLimitError, False, True) == (type(error), error.retry_here, error.try_elsewhere)


SILENT = {
    "words with a full stop": {"code": 0, "message": "OK.", "type": "none"},
    "in Chinese": {"code": 0, "message": "\u6210\u529f"},
    "nothing": None,
    "an empty object": {},
    "an empty text": "",
    "a blank": " ",
    "zero": 0,
    "a struct of Go": {"message": "", "type": "", "param": "", "code": None},
    "code 0": {"code": 0, "message": ""},
    "a code of zeros": {"code": "0000", "message": "success"},
    "a flag of success": {"success": True, "message": ""},
    "no applicable error": "N/A",
    "code 200": {"code": 200, "message": "OK"},
    "success": {"code": "success", "message": "success", "details": [{}]},
    "a list of nothing": [None, {}, ""],
    "false": False,
}
LOUD = {
    "a word": "no",
    "a code": {"code": 500},
    "a message beside 200": {"code": 200, "message": "no"},
    "a number": -1,
    "true": True,
}


@each("error", SILENT)
def test_an_error_of_zeros_blanks_and_words_of_success_tells_nothing(error):
    """Servers that write structs by value send one with every answer."""
    assert not tells(error)


@each("error", LOUD)
def test_an_error_that_says_anything_tells(error):
    """One word is enough."""
    assert tells(error)


WRAPPED = json.dumps(told("This model's maximum context length is 131072 tokens.", "context_length_exceeded"))


@each(
    "body",
    [
        told("Provider returned error", 400, metadata={"raw": WRAPPED, "provider_name": "X"}),
        told("Provider returned error", 400, metadata={"raw": json.loads(WRAPPED)}),
        told("Provider returned error", 400, metadata={"raw": json.dumps(told("Upstream", 400, metadata={"raw": WRAPPED}))}),
        told(WRAPPED),
        told(f"litellm.BadRequestError: OpenAIException - {WRAPPED}"),
        told(f"AnthropicException - b'{WRAPPED}'"),
        {"error": WRAPPED},
    ],
)
def test_an_error_within_an_error_is_read(body):
    """A gateway's own words say nothing; its upstream's do."""
    error = fault(400, {}, json.dumps(body).encode())

    assert (ContextWindowExceeded, "context_length_exceeded", 400) == (type(error), error.code, error.status)
    assert "131072" in error.message


def test_an_upstreams_plain_words_stand_behind_the_gateways():
    """Not all of them answer with JSON."""
    body = told("Provider returned error", 429, metadata={"raw": "m is temporarily rate-limited upstream"})
    error = fault(429, {}, json.dumps(body).encode())

    assert "Provider returned error: m is temporarily rate-limited upstream" == error.message
    assert RateLimitError is type(error)


def test_braces_in_a_message_are_no_wrapped_error():
    """A message may quote what was sent."""
    error = fault(400, {}, json.dumps(told('unexpected field in {"message": 5, "x": {}')).encode())

    assert 'unexpected field in {"message": 5, "x": {}' == error.message


def test_a_wrapping_without_end_is_given_up():
    """Each level costs little, and there are few."""
    body = told("deep")
    for _ in range(30):
        body = told("wrapped", metadata={"raw": body})

    assert fault(400, {}, json.dumps(body).encode()).message.startswith("wrapped: wrapped")


@each("inner, kind", [(500, VendorUnavailable), (503, VendorUnavailable), (400, InvalidRequest)])
def test_an_upstream_that_failed_is_no_mistake_of_the_caller(inner, kind):
    """OpenRouter gives it the status 400."""
    raw = json.dumps({"error": {"message": "no words", "code": inner}})

    assert kind is type(fault(400, {}, json.dumps(told("Provider returned error", 400, metadata={"raw": raw})).encode()))
