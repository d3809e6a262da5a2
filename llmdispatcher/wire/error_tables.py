"""What vendors' statuses, codes and wordings of errors mean: tables for all formats. :mod:`.errors` judges by them.

Where the rows are from; each names one or more of these:

- OpenAI: https://platform.openai.com/docs/guides/error-codes, and ResponseErrorCode of openai 3.52.0
- Azure: https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter
- Anthropic: https://platform.claude.com/docs/en/api/errors
- Gemini: https://ai.google.dev/gemini-api/docs/troubleshooting; Vertex: cloud.google.com, model-reference/api-errors
- xAI: https://github.com/Wei-Shaw/sub2api/pull/5359, https://github.com/continuedev/continue/issues/10373
- OpenRouter: https://openrouter.ai/docs/api/reference/errors-and-debugging, .../client-sdks/python/components/apierrortype
- Groq: https://console.groq.com/docs/errors
- Mistral: https://docs.mistral.ai/api; recorded answers
- Moonshot: https://platform.kimi.ai/docs/api/errors; Kimi Code: https://www.kimi.com/code/docs/en/kimi-code/error-reference.html
- DashScope: https://help.aliyun.com/en/model-studio/error-code
- Z.ai: https://docs.z.ai/api-reference/api-code, https://docs.bigmodel.cn/cn/api/api-code
- MiniMax: https://platform.minimax.io/docs/api-reference/errorcode
- Ark: https://www.volcengine.com/docs/82379/1299023
- Qianfan: https://cloud.baidu.com/doc/qianfan-api/s/rmwbl43x7
- Bedrock: https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html; botocore 1.44.5
- Copilot, GitHub: https://docs.github.com/en/github-models; https://github.com/eslint/tsc-meetings/pull/593
- Cloudflare: https://developers.cloudflare.com/workers-ai/platform/errors/
- Cohere: https://docs.cohere.com/v2/reference/errors
- TGI: https://github.com/huggingface/text-generation-inference, router/src/validation.rs
- llama.cpp, vLLM, SGLang, Ollama, LM Studio: their sources
- SiliconFlow https://docs.siliconflow.cn; Novita: https://novita.ai/docs/api-reference/basic-error-code.md
- new-api: https://github.com/QuantumNous/new-api (a gateway), types/error.go
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .. import errors
from .words import by_word

STATUSES: Mapping[int, type[errors.DispatchError]] = {
    401: errors.AuthenticationError,
    402: errors.QuotaExceeded,
    403: errors.AuthenticationError,
    404: errors.ModelNotFound,
    407: errors.VendorUnavailable,  # a proxy on the way
    408: errors.VendorUnavailable,
    409: errors.VendorUnavailable,
    410: errors.ModelNotFound,  # Nvidia: its end of life
    424: errors.VendorUnavailable,  # Bedrock, TGI: the model failed
    425: errors.VendorUnavailable,
    429: errors.RateLimitError,
    434: errors.AuthenticationError,  # Z.ai: no permission for this API
    451: errors.ContentFiltered,
    420: errors.RateLimitError,
    446: errors.ContentFiltered,  # guardrails of gateways
    498: errors.VendorUnavailable,  # Groq: no capacity left for flexible processing
}
FINAL_STATUSES = frozenset({407, 501, 505})

CODES: Mapping[str, type[errors.DispatchError]] = by_word(
    {
        errors.QuotaExceeded: (
            # OpenAI: usage_limit_reached subscriptions
            "insufficient_quota billing_hard_limit_reached billing_not_active usage_limit_reached",
            "billing_error enforced_spend_limit_reached contract_spend_limit_reached",  # Anthropic
            "payment_required",  # OpenRouter
            "exceeded_current_quota_error",  # Moonshot
            "arrearage allocationquota.freetieronly prepaidbilloverdue postpaidbilloverdue commoditynotpurchased",  # DashScope
            # Ark: quotaexceeded the free trial is used up; setlimitexceeded the limit that the user has set
            "accountoverdueerror operationdenied.serviceoverdue accountquotaexceeded quotaexceeded setlimitexceeded",
            "quota_exceeded",  # Copilot
            "billing_disabled",  # Vertex
            "quota_exhausted",  # Gemini Code Assist
            "not_enough_balance billing_balance_not_enough",  # Novita
            "budget_exceeded exceededbudget",  # LiteLLM
            "key_limit_exceeded credits_exhausted insufficient_balance insufficient_credits quota_limit_reached",
            "monthly_limit_exceeded credit_limit_exceeded billing_limit_reached spend_limit_exceeded",
            "insufficient_user_quota pre_consume_token_quota_failed",  # new-api
            "resourceinsufficient",  # Hunyuan
            # Z.ai: 1113 balance; 1304 limit of a day; 1308 limit of a plan; 1309 plan has ended; 1310 limit of a week or month
            "error:1113 error:1304 error:1308 error:1309 error:1310",
            "base_resp:1008 base_resp:2056",  # MiniMax: 1008 balance; 2056 limit of a plan
            "errors:3036 errors:4006",  # Cloudflare: neurons of a day
            "error:30001",  # SiliconFlow: balance
            "token_quota_reached",  # watsonx
        ),
        errors.ContextWindowExceeded: (
            "context_length_exceeded",  # OpenAI, OpenRouter, Groq, Cerebras
            "string_too_long",  # OpenRouter
            "exceed_context_size_error",  # llama.cpp
            "context_exceeded",  # ds4
            "model_context_window_exceeded",  # Anthropic, Z.ai
            "model_max_prompt_tokens_exceeded",  # Copilot
            "tokens_limit_reached",  # GitHub Models
            "tokens_too_long characters_too_long",  # Qianfan
            "error:1261",  # Z.ai
            "base_resp:1039",  # MiniMax
        ),
        errors.ContentFiltered: (
            "content_filter",  # Azure, Moonshot
            "content_policy_violation",  # OpenAI, OpenRouter
            "image_content_policy_violation moderation_blocked cyber_policy_violation",  # OpenAI
            "responsibleaipolicyviolation",  # Azure
            "refusal flagged_input",  # OpenRouter
            "data_inspection_failed datainspectionfailed ipinfringementsuspect",  # DashScope
            "guardrail_intervened",  # Bedrock
            "content_filtered prohibited_content safety jailbreak content_policy content_blocked unsafe_content",
            "content_moderation_error input_moderation_failed output_moderation_failed",
            "model_armor",  # Vertex
            "sensitive_words_detected prompt_blocked",  # new-api
            "censorship_blocked",  # StepFun
            "error:1300 error:1301",  # Z.ai
            "base_resp:1026 base_resp:1027",  # MiniMax: 1026 the prompt; 1027 the answer
        ),
        errors.ModelNotFound: (
            "model_not_found",  # OpenAI
            "modelnotfound",  # DashScope
            "model_decommissioned",  # Groq
            "model_deprecated model_not_exist unsupported_model invalid_model",
            "model_not_available",  # Together
            "deploymentnotfound",  # Azure
            "modelnotopen invalidendpointormodel.notfound",  # Ark
            "model_not_supported",  # Copilot, Hugging Face
            "unknown_model unavailable_model",  # GitHub Models
            # Z.ai: 1221 this API is gone; 1222 there is no such API; 1311 not in the plan
            "error:1211 error:1221 error:1222 error:1311",
            "errors:5007 errors:3042",  # Cloudflare
            "error:20012",  # SiliconFlow
        ),
        errors.AuthenticationError: (
            "invalid_api_key account_deactivated unsupported_country_region_territory",  # OpenAI
            "invalidapikey",  # DashScope
            "invalid_token token_expired",
            "authfailure",  # Hunyuan
            "unrecognizedclientexception expiredtokenexception missingauthenticationtokenexception",  # Bedrock
            "authenticationerror",  # Ark, vLLM
            "api_key_invalid",  # Gemini
            "consumer_suspended service_disabled",  # Vertex
            # Z.ai: 1000 identity; 1110 account inactive; 1111 no such account; 1112 and 1121 account locked; 1220 no permission
            "error:1000 error:1001 error:1002 error:1003 error:1004 error:1110 error:1111 error:1112 error:1121 error:1220",
            "base_resp:1004 base_resp:2049",  # MiniMax
        ),
        errors.VendorUnavailable: (
            "engine_overloaded_error",  # Moonshot
            "provider_overloaded provider_unavailable",  # OpenRouter
            "capacity_exceeded",  # Groq
            "overloaded_error",  # Anthropic
            "model_capacity_exhausted",  # Gemini
            "serveroverloaded",  # Ark
            "modelnotreadyexception modeltimeoutexception modelerrorexception modelstreamerrorexception",  # Bedrock
            "error:1120 error:1234 error:1312",  # Z.ai: 1120 the account cannot be read now; 1234 network; 1312 the model is busy
            # MiniMax: 1000 unknown; 1001 timeout; 1024 internal; 1033 downstream
            "base_resp:1000 base_resp:1001 base_resp:1024 base_resp:1033",
            "errors:3040",  # Cloudflare: no capacity
            "error:50505 error:50603",  # SiliconFlow: 50505 overloaded; 50603 busy
        ),
        errors.RateLimitError: (
            "ramp_limit_exceeded",  # Anthropic
            "in_flight_budget_exhausted",  # OpenRouter: with status 402
            # Bedrock: servicequotaexceededexception with status 400: "resubmit your request later"
            "throttlingexception servicequotaexceededexception",
            "throttling throttling.ratequota throttling.burstrate",  # DashScope
            "limitexceeded requestlimitexceeded",  # Hunyuan
            "concurrency_limit_exceeded",
            "error:1302 error:1303 error:1305 error:1313",  # Z.ai: 1302 calls at once; 1303 frequency; 1305 flow; 1313 fair use
            "base_resp:1002 base_resp:1041 base_resp:2045",  # MiniMax: 1041 connections; 2045 growth
        ),
        errors.MalformedReply: (
            # Groq: tool_use_failed the model called a tool wrongly; json_validate_failed the model wrote no JSON
            "tool_use_failed json_validate_failed output_parse_failed",
        ),
    }
)
"""By a vendor's code in lower case; numbers, which vendors use for different things, behind the shape that they came in."""

STANDS_FOR: Mapping[str, int] = by_word(
    {
        400: (
            "invalid_request_error invalid_request invalid_prompt invalid_argument invalid-argument failed_precondition",
            "precondition_failed badrequesterror badrequest validationexception invalidparameter",
            # ResponseErrorCode of openai 3.52.0, APIErrorType of OpenRouter: pictures that a vendor cannot use
            "invalid_image invalid_image_format invalid_base64_image invalid_image_url invalid_image_mode image_too_large",
            "image_too_small image_parse_error image_file_too_large image_file_not_found image_not_found image_download_failed",
            "unsupported_image_format unsupported_image_media_type empty_image_file failed_to_download_image",
        ),
        401: ("authentication_error authentication unauthenticated unauthorized",),
        402: ("billing_error payment_required",),
        403: ("permission_error permission_denied permission-denied accessdeniedexception forbidden",),
        404: ("not_found_error not_found notfounderror resourcenotfoundexception",),
        413: ("request_too_large payload_too_large",),
        422: ("unprocessable unprocessable_entity_error",),
        429: (
            "rate_limit_error rate_limit_exceeded rate_limit_reached_error rate_limited resource_exhausted insufficient_quota",
            "too_many_requests toomanyrequests throttlingexception",
        ),
        500: ("api_error server_error internal internal_server_error internalservererror internalserverexception",),
        503: ("unavailable unavailable_error serviceunavailableexception service_unavailable provider_overloaded",),
        504: ("timeout_error deadline_exceeded",),
        529: ("overloaded_error",),
    }
)
"""The status that an error inside a 200 would have had."""

KIND_STATUSES: Mapping[type[errors.DispatchError], int] = {
    errors.InvalidRequest: 400,
    errors.ContextWindowExceeded: 400,
    errors.ContentFiltered: 400,
    errors.AuthenticationError: 401,
    errors.QuotaExceeded: 402,
    errors.ModelNotFound: 404,
    errors.RateLimitError: 429,
}
"""The status of an error inside a 200 that has none, by its class."""

CLIENT = frozenset(range(400, 500))
_ANY = frozenset(range(300, 600))
_NO_LIMIT = _ANY - {429}
"""Where a talk of tokens is of the conversation's, not of those of a minute."""
WORDINGS: tuple[tuple[re.Pattern[str], frozenset[int], type[errors.DispatchError]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), statuses, kind)
    for pattern, statuses, kind in (
        # Groq, Ollama, Bedrock, llama.cpp: what the model wrote is no call, or no JSON.
        (
            r"failed to call a function|failed to generate json|failed_generation|error parsing tool call|output_parse_failed"
            r"|model produced (an )?invalid|failed to parse (the )?(tool|function)[ _]call|tool call validation failed"
            r"|malformed[ _](function|tool)[ _](call|use)|model generated (an )?invalid"
            r"|model did not (produce|generate|return) (a )?valid"
            r"|model('s)? output (could not|cannot) be parsed|failed to parse input at pos",
            _ANY,
            errors.MalformedReply,
        ),
        # OpenAI, Groq: more than the limit of a minute.
        (r"request too large for.{0,160}(per min|\btpm\b|\brpm\b)", CLIENT, errors.RateLimitError),
        # Gemini, OpenAI, Anthropic: a country, or an account, that is not served.
        (
            r"location (is )?not supported|country, region,? or territory not supported|not available in your (country|region)"
            r"|organization has been disabled|account (has been|is|was) (deactivated|disabled|locked|banned)|access terminated"
            r"|security token included in the request is|(missing|no) authentication|authorization header|not authorized to",
            CLIENT,
            errors.AuthenticationError,
        ),
        (
            r"exceeded your current quota|check your plan and billing",
            CLIENT,
            errors.QuotaExceeded,
        ),  # Google says it of a minute too
        # Anthropic, OpenAI, DeepSeek, MiniMax, xAI, OpenRouter, Hugging Face, Kimi Code, DashScope, Ark, Cloudflare, Gemini,
        # SiliconFlow, Novita, Z.ai, Cohere, LiteLLM, new-api.
        (
            r"credit balance is too low|insufficient[ _](account[ _])?(balance|credit|funds|quota)"
            r"|not[ _]enough[ _](balance|credit|funds)"
            r"|balance is (insufficient|not enough|too low)|balance_not_enough|overdue (balance|payment)|in arrears"
            r"|(doesn't|does not|don't|do not) have (any|enough) credits|(out of|requires? more|no more|no remaining) credits"
            r"|used all (available|your) credits|exceeded your (monthly|weekly|daily)|exceeded your [a-z ]{0,20}credits?\b"
            r"|credits? (have|has|are|is) (been )?(depleted|exhausted|used up)|key limit (has been )?(exceeded|reached)"
            r"|(?<!thinking )(?<!reasoning )(?<!token )budget (has been |was |is )?exceeded|exceededbudget|over budget"
            r"|exceeded (its|the|your) ([a-z]+ )?budget"
            r"|limited to [\d,]{1,12} [a-z ]{0,20}(/|per|a) ?(day|week|month)"
            r"|spending[ -](limit|cap)|(monthly|hard) spend limit|in good standing|payment (instrument|method)"
            r"|enable billing|billing (to be )?(is |not )?(disabled|enabled|active)"
            r"|(reached|hit|exceeded) (your|its|their|the) [a-z0-9() -]{0,40}usage limit|usage limit (has been )?(reached|exceeded)"
            r"|free (tier|trial|quota|allocated quota|allocation)[^.]{0,60}(exhausted|exceeded|used up)"
            r"|used up your [a-z ]{0,20}(free|daily)|quota (has been |is )?(used up|exhausted)"
            r"|exhausted (your|its|the|all) [a-z ]{0,30}(quota|allowance|balance|credits?|usage)|exhausted balance"
            r"|(account|wallet|credit) balance (is )?(too low|insufficient|not enough|exhausted|empty)"
            r"|no (remaining|available) balance|(month|week|day)('s|ly)? [a-z ]{0,20}quota (has been |is |was )?(reached|exceeded)"
            r"|(no|zero) credits? (left|remaining|available)|credits? exhausted|crossed budget"
            r"|(subscription|trial) (has |is )?(expired|ended|over)\b|please (top[ -]?up|recharge)|top up your"
            r"|plan (?!rate|request|concurren)[\w -]{0,12}limit (has been )?reached"
            r"|\u4f59\u989d\u4e0d\u8db3|\u6b20\u8d39|\u65e0\u53ef\u7528\u8d44\u6e90\u5305"
            r"|[\u989d\u914d\u5957][\u5ea6\u989d\u9910].{0,3}(\u4e0d\u8db3|\u7528\u5c3d|\u7528\u5b8c|\u8017\u5c3d)",
            CLIENT,
            errors.QuotaExceeded,
        ),
        (
            r"(incorrect|invalid|expired|missing|no|provide an) api[ _-]?key"
            r"|api[ _-]?key (format )?(is |was |appears to be )?(not valid|invalid|expired|missing|required|incorrect)"
            r"|invalid (authentication|access token|credentials)|\u65e0\u6548\u7684\u4ee4\u724c",
            CLIENT,
            errors.AuthenticationError,
        ),
        # SiliconFlow, Groq, Together, Fireworks, Bedrock, Z.ai, new-api: limits of a minute behind other statuses.
        (
            r"\b(rate|[rtqi]p[mdsh]|requests?|concurren(cy|t requests?))[ _-]?limits? ((was|is|has been) )?(exceeded|reached|hit)"
            r"|exceeded (the |your )?(rate|concurrency|request)[ _-]limits?|\brate[ -]limited\b|too many (concurrent )?requests"
            r"|too many (input )?tokens[^.]{0,40}(\bwait\b|try again|per (minute|day))|\bthrottled\b|\bratelimiterror\b"
            r"|limit quota violation|spike arrest violation"  # Apigee
            r"|quota exceeded[^.]{0,60}per[ _]minute|requests? (are |is |rate )?[a-z ]{0,20}too (quickly|fast|frequently)"
            r"|\u8bf7\u6c42\u8fc7\u4e8e\u9891\u7e41|\u9650\u6d41|\u5e76\u53d1.{0,6}(\u8d85|\u9650)"
            r"|\u9891\u7387.{0,4}(\u8d85|\u9650)|\u901f\u7387\u9650\u5236",
            CLIENT - {401, 402},
            errors.RateLimitError,
        ),
        (
            r"context (length|window|size)|maximum context|exceeds? (the )?(available )?context|context overflow"
            r"|\b(prompt|input|query|messages?|conversation|context)( token length)? (is |are )?too (long|large)\b"
            r"|'(input|messages|prompt|system)\S{0,40}': string too long"
            r"|max(imum)? context|context_length|exceeds? (the |this )?model'?s context|\u4e0a\u4e0b\u6587.{0,6}(\u8d85|\u9650)"
            r"|(\u8f93\u5165|\u63d0\u793a\u8bcd?).{0,4}(\u957f\u5ea6)?.{0,3}(\u8d85\u8fc7|\u8d85\u51fa|\u8d85\u9650)"
            r"|\u8d85\u51fa\u6700\u5927\u957f\u5ea6",
            _ANY,
            errors.ContextWindowExceeded,
        ),
        # Gemini, Vertex, Copilot, GLM, Poolside, Nvidia, TensorRT; Cohere, Bedrock Nova; xAI, SambaNova, vLLM, SGLang, SiliconFlow;
        # Kimi; DashScope; Z.ai; Groq, Cerebras; TGI; GitHub Models.
        (
            r"\b(input|prompt) ?(token )?(length|count|tokens?)\b.{0,60}"
            r"(exceed|only supports|longer than|greater than|must be less than)"
            r"|\b(number|total|count) of (input |prompt )?tokens\b.{0,40}(exceed|must be (no more|at most|less|fewer))"  # Yandex
            r"|\bprompt (of )?(less|fewer|no more) than [\d,]{1,12} tokens|max(imum)? input characters"  # Oracle; Qianfan's old API
            r"|input tokens exceed|requested token count exceeds"
            r"|max(imum)? (supported |allowed )?(prompt|input|sequence|model) length|length of prompt_tokens|max_seq_len"
            r"|longer than the (maximum )?model|exceeded model token limit|prompt exceeds max|range of input length should be"
            r"|too many (input )?tokens|reduce (the length of )?(the |your )?(messages|prompt|input|conversation)\b"
            r"|`inputs`( tokens \+|.{0,5}must have less than)|request body too large for .{0,80}max size: \d+ tokens"
            r"|\+ `?max_(new_)?tokens`? must be <=|too large: \d{1,12} tokens|too many total text bytes"
            r"|\btoken (length|count) exceeds?\b|\btokens[a-z, ]{0,40}exceeds? (the )?(max|model)"
            r"|\A(?![\s\S]*max_(completion_|output_|new_)?tokens)[\s\S]*exceeds (the )?max(imum)? (allowed )?(number of )?tokens"
            r"|token limit exceeded|at most [\d,]{1,12} (input|prompt) tokens|prompt contains [\d,]{1,12} tokens"
            r"|(shorten|reduce) (your|the) (input|prompt|message|conversation)|message you submitted was too long",
            _NO_LIMIT,
            errors.ContextWindowExceeded,
        ),
        # Azure, OpenAI, Anthropic, xAI, OpenRouter, Moonshot, DashScope, MiniMax, Ark, Z.ai, StepFun, Xiaomi.
        (
            r"content[ _](management|filter(ing|ed)?|moderation|censorship|security|policy)|safety system"
            r"|(usage|acceptable use|safety) (policy|policies|guidelines)"
            r"|violat\w{1,4} [^.]{0,60}(polic|guideline)|\b(was|were|been|is) flagged\b|inappropriate content|considered high risk"
            r"|content exists risk"
            r"|sensitive[ _](content|information|words?)|new_sensitive|sensitivecontent|riskdetection|prohibited (content|use)"
            r"|(blocked|flagged|stopped|rejected) by [^.]{0,40}(safety|moderation|guardrail|filter|polic|armor)|guardrails? failed"
            r"|violat\w{1,4} (our|the) terms|harmful content|prohibited_content|potential recitation"
            r"|\u654f\u611f|\u4e0d\u5b89\u5168|\u8fdd\u89c4|\u5185\u5bb9\u5b89\u5168|\u5ba1\u6838\u4e0d\u901a\u8fc7",
            CLIENT - {429},
            errors.ContentFiltered,
        ),
        (
            r"not a valid model|unknown model|invalid model|unsupported model|supported api model names|model identifier is invalid"
            r"|no such model|no model (named|called)|unknown provider for model|\bmodel_not_(found|supported|available)\b"
            r"|\bmodel (?=\S{0,80}[-/:.\d])\S{1,80} is not (supported|found)\b"
            r"|\bmodels?\b([^.]|\.(?=\S)){0,200}(does not exist|not found)"
            r"|\bmodel (is |was )?not (found|supported|available|exists?)\b"
            r"|\bmodel\b([^.]|\.(?=\S)){0,120}((has been|was|is) (decommissioned|retired|discontinued|removed|sunset|shut ?down)"
            r"|has been deprecated|reached (its|the) end of (its )?life|is no longer (supported|available|served))"
            r"|\bmodel (?!parameter|field|name|setting)\S{1,80} is deprecated|unable to access model"
            r"|\u6a21\u578b.{0,60}\u4e0d\u5b58\u5728"
            r"|with on-demand throughput isn.t supported",
            frozenset({400, 401, 402, 403, 404, 410}),
            errors.ModelNotFound,
        ),
        # Moonshot, Mistral, Azure, SiliconFlow, Hugging Face, Z.ai: no capacity, whoever asks.
        (
            r"\boverloaded\b|(out of|at|over|no|insufficient|lack of) capacity|capacity (is |was )?(temporarily )?exceeded"
            r"|(experiencing|due to) high (demand|traffic|load)|\btoo busy\b|currently loading|model is loading"
            r"|temporarily unavailable"
            r"|upstream (connect error|request failed|error|provider timed out)|(engine|model) is not ready"
            r"|degraded function cannot be invoked"  # Nvidia: https://github.com/Alishahryar1/free-claude-code/issues/1012
            r"|no (available channel|slot available)"
            r"|\u8bbf\u95ee\u91cf\u8fc7\u5927|\u7e41\u5fd9|\u9971\u548c",
            CLIENT - {429},
            errors.VendorUnavailable,
        ),
        # FastAPI, pydantic, OpenAI, behind a 200: what the request says is wrong.
        (
            r'"loc": \["(body|query|path|header)"|\d validation errors?\b|unrecognized request argument'
            r"|is a required (field|property|parameter|argument)|unsupported (parameter|value): ",
            frozenset({400, 422}),
            errors.InvalidRequest,
        ),
    )
)
"""Searched in order, in the codes and the message of an error."""

AMBIGUOUS = ("exceeded your current quota", "check your plan and billing")
"""What Google says of a minute's limit as of a day's."""
